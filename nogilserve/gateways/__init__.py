"""Between messages and applications: the rules of WSGI, and no wire syntax."""
