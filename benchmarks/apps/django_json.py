"""The JSON workload on Django: those middleware of a new project that need no database."""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.apps.plain import about as describe

__all__ = ["app", "urlpatterns"]

ITEMS = [{"id": n, "name": f"item {n}", "tags": ["a", "b"]} for n in range(5)]


def items(request: HttpRequest) -> JsonResponse:
    """A small document made anew for each request."""
    return JsonResponse({"message": "Hello, World!", "items": ITEMS})


def about(request: HttpRequest) -> JsonResponse:
    """What the serving process is."""
    return JsonResponse(describe())


urlpatterns = [path("json", items), path("about", about)]

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for the benchmark only",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
django.setup(set_prefix=False)
app = WSGIHandler()
