"""Many applications in one server: by host and path, and by templates."""
