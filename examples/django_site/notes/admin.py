"""Notes in Django's admin."""

from django.contrib import admin

from .models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    """List with search and dates."""

    list_display = ("title", "created")
    search_fields = ("title", "text")
    date_hierarchy = "created"
