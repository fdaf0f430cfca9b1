"""List, detail and create of notes, and an upload that is measured and thrown away."""

import hashlib

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.generic import CreateView, DetailView, ListView

from .models import Note


class NoteList(ListView):
    """All notes, newest first, fifty to a page."""

    model = Note
    paginate_by = 50


class NoteDetail(DetailView):
    """One note."""

    model = Note


class NoteCreate(CreateView):
    """A form for a new note."""

    model = Note
    fields = ("title", "text")


class UploadForm(forms.Form):
    """One file."""

    file = forms.FileField()


def upload(request: HttpRequest) -> HttpResponse:
    """Show the form; for a posted file, its size in bytes and SHA-256."""
    form = UploadForm(request.POST or None, request.FILES or None)
    result = None
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        digest = hashlib.sha256()
        for block in file.chunks():
            digest.update(block)
        result = {"name": file.name, "size": file.size, "sha256": digest.hexdigest()}
    return render(request, "notes/upload.html", {"form": form, "result": result})
