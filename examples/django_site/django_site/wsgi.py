"""The WSGI entry point: `nogilserve django_site.wsgi:application`.

Static files (the admin's style sheets) are answered by Django's own handler so that the
example needs nothing in front of it.
"""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")

application = StaticFilesHandler(get_wsgi_application())
