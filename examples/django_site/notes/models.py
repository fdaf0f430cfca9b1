"""The one table of the example."""

from django.db import models
from django.urls import reverse


class Note(models.Model):
    """A title and a text, with the time it was written."""

    title = models.CharField(max_length=120)
    text = models.TextField(blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created", "-pk")

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """Where the note is shown; the create view goes there."""
        return reverse("note", args=[self.pk])
