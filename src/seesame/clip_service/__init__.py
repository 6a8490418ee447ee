"""The CLIP service: pictures and words in, unit vectors out.

`seesame clip` runs it; so does `uvicorn seesame.clip_service:app --port 8001`, for which `app` is made from the
environment when it is first asked for, not at import.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from seesame.clip_service.app import create_app
    from seesame.logs import configure_logging
    from seesame.settings import ClipSettings

    settings = ClipSettings.read()
    configure_logging(settings.log_level, settings.log_format)
    globals()["app"] = app = create_app(settings)
    return app
