"""A Django site as large as a new project: its admin, its forms, its ORM, and a page of a template.

For memory: this is what every copy of a Django application holds before it has a line of its own.
"""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import path

from benchmarks.apps.plain import about as describe

__all__ = ["ROWS", "app", "urlpatterns"]

ROWS = 20
PAGE = """{% extends "base" %}{% block body %}<table>{% for row in rows %}
<tr class="{% cycle 'odd' 'even' %}"><td>{{ row.id }}<td>{{ row.name|title }}<td>{{ row.price|floatformat:2 }}
{% endfor %}</table>{% endblock %}"""  # noqa: E501
BASE = "<!doctype html><title>{{ title }}</title>{% block body %}{% endblock %}"

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for the benchmark only",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": ["django.template.context_processors.request"],
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [
                            (
                                "django.template.loaders.locmem.Loader",
                                {"base": BASE, "page": PAGE},
                            )
                        ],
                    )
                ],
            },
        }
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    STATIC_URL="static/",
)
django.setup(set_prefix=False)

from django.contrib import admin  # noqa: E402  its models need the settings


def page(request: HttpRequest) -> HttpResponse:
    """A table made by a template with inheritance, a loop and filters."""
    rows = [{"id": n, "name": f"item {n}", "price": n * 1.1} for n in range(ROWS)]
    return HttpResponse(render_to_string("page", {"title": "Items", "rows": rows}, request))


def about(request: HttpRequest) -> JsonResponse:
    """What the serving process is."""
    return JsonResponse(describe())


urlpatterns = [
    path("page", page),
    path("about", about),
    path("admin/", admin.site.urls),
]
app = WSGIHandler()
