"""Moving from Caddy Snake: a Caddyfile becomes a nogilserve.toml, flags become options.

`tokens` and `tree` read a Caddyfile, `addresses`, `matchers`, `pythonblock`, `sites` and `options`
say what each part of it is here, `document` writes it down, `command` and `flags` are what users
call.
"""
