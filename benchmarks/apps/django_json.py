"""The JSON workload on Django: those middleware of a new project that need no database."""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.apps.documents import document, made
from benchmarks.apps.plain import about as describe

__all__ = ["app", "urlpatterns"]


def items(request: HttpRequest) -> JsonResponse:
    """A small document of data that all requests share."""
    return JsonResponse(document())


def made_items(request: HttpRequest) -> JsonResponse:
    """The same document of new data."""
    return JsonResponse(made())


def about(request: HttpRequest) -> JsonResponse:
    """What the serving process is."""
    return JsonResponse(describe())


urlpatterns = [path("json", items), path("made", made_items), path("about", about)]

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
