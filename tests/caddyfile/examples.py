"""The Caddyfiles of Caddy Snake's documentation, and what a client is to see of each.

PORT stands for a port. Sites are asked for by the host that is named.
"""

FLASK_ROUTE = """
http://localhost:PORT {
    route {
        python {
            module_wsgi "main:app"
        }
    }
}
"""
FLASK = """
http://localhost:PORT {
    python /* {
        module_wsgi "main:app"
    }
}
"""
FLASK_WORKERS = """
http://localhost:PORT {
    python /* {
        module_wsgi "main:app"
        workers 4
        working_dir "."
    }
}
"""
FASTAPI = """
http://localhost:PORT {
    python /* {
        module_asgi "main:asgi"
        lifespan on
    }
}
"""
FASTAPI_ROUTE = """
http://localhost:PORT {
    route {
        python {
            module_asgi "main:asgi"
        }
    }
}
"""
SIMPLE = """
{
	http_port PORT
	https_port 9443
	log {
		level error
	}
}
localhost:PORT {
    route {
        python "main:app"
    }
}
"""
DYNAMIC = """
*.example.com:PORT {
    route /* {
        python {
            module_asgi "{http.request.host.labels.2}:app"
            working_dir "{http.request.host.labels.2}/"
        }
    }
}
"""
DYNAMIC_PLAIN = """
*.example.com:PORT {
    python /* {
        module_asgi "{http.request.host.labels.2}:app"
        working_dir "{http.request.host.labels.2}/"
    }
}
"""
ENVIRONMENT = """
http://localhost:PORT {
    python {
        module_wsgi "main:app"
        working_dir "shop"
        env_file ".env"
        env_var DEBUG "1"
        env_var DATABASE_URL "postgres://localhost/myapp_dev"
        start_timeout 180s
    }
}
"""
MULTIPLE = """
http://localhost:PORT {
    python /api/* {
        module_asgi "main:asgi"
        lifespan on
    }
    python /* {
        module_wsgi "main:app"
    }
}
"""
ON_DEMAND = """
{
    email you@yourcompany.com

    on_demand_tls {
        permission python_dir {
            root /srv/apps
            domain_suffix project.example
        }
    }
}

https://*.project.example {
    tls {
        on_demand
    }

    python /* {
        module_asgi "{http.request.host.labels.2}:app"
        working_dir "/srv/apps/{http.request.host.labels.2}/"
    }
}
"""
