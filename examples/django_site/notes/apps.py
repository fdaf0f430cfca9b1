"""Registration of the application with Django."""

from django.apps import AppConfig


class NotesConfig(AppConfig):
    """Notes, with the default settings."""

    name = "notes"
