"""The REST interface of the annotation app, ``/api/v1``."""
