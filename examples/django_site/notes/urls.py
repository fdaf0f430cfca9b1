"""Routes of the notes."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.NoteList.as_view(), name="notes"),
    path("new/", views.NoteCreate.as_view(), name="new-note"),
    path("<int:pk>/", views.NoteDetail.as_view(), name="note"),
    path("upload/", views.upload, name="upload"),
]
