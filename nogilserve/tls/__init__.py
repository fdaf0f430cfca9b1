"""TLS: contexts and certificates for the data plane, and how certificates are obtained."""
