"""The page on 127.0.0.1: nothing is sent to anybody, and a browser is told to fetch from here alone."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gen.app.page import build_page, look
from gen.errors import UserError

if TYPE_CHECKING:
    from gen.app.session import Session

HOST = "127.0.0.1"
WAITING = 16  # requests
# the page library's scripts build functions from text; all of them, fonts and pictures come from this server
OWN_SOURCES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: blob: data:; worker-src 'self' blob:; "
    "frame-src 'self' data: blob:; frame-ancestors 'self'; form-action 'self'; object-src 'none'; base-uri 'self'"
)


def serve_page(session: Session, port: int, share: bool, upload_limit: int, wait: bool = True) -> str:
    """Serve the page until Ctrl-C, or return its address at once where `wait` is off; `upload_limit` in MB.

    Errors: UserError for a port that is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    page = build_page(session).queue(max_size=WAITING, default_concurrency_limit=1)
    try:
        _, address, public = page.launch(
            server_name=HOST,
            server_port=port or None,
            share=share,
            quiet=True,
            ssr_mode=False,
            prevent_thread_lock=True,
            max_file_size=f"{upload_limit}mb",
            footer_links=[],
            app_kwargs={"docs_url": None, "redoc_url": None, "middleware": _middleware()},
            **look(),
        )
    except OSError as error:
        raise UserError(f"--port {port}: {error}; give another") from None
    print(f"Open {public or address}  (Ctrl-C stops it)", flush=True)
    if wait:
        page.block_thread()
    return address


def _middleware() -> list:
    from starlette.middleware import Middleware

    return [Middleware(OwnSourcesOnly)]


class OwnSourcesOnly:
    """Gives every answer a content security policy."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable[[dict], Awaitable[None]]) -> None:
        """Pass a request on, and the answer back with the policy among its headers."""

        async def with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", OWN_SOURCES.encode())
                message = message | {"headers": [*message.get("headers", []), policy]}
            await send(message)

        await self.app(scope, receive, with_policy)
