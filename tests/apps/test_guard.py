"""The guard before the page: by itself, and before the page in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.apps.serve.guard import Guard
from tests.support.runs_on_disk import NET, noise

# --- by itself ----------------------------------------------------------------------------------


def asked(
    host: str | None,
    origin: str | None = None,
    *,
    body: tuple[bytes, ...] = (b"",),
    length: int | None = None,
    anywhere: bool = False,
    kind: str = "http",
) -> tuple[object, str]:
    """The status and the text that come back, where the application says what it was given."""

    async def app(scope, receive, send):
        given = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RuntimeError("gone")
            given += message["body"]
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": given or b"in"})

    headers = [(b"host", host.encode())] if host is not None else []
    headers += [(b"origin", origin.encode())] if origin is not None else []
    headers += [(b"content-length", str(length).encode())] if length is not None else []
    parts = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(body)}
        for i, part in enumerate(body)
    ]
    sent = []

    async def receive():
        return parts.pop(0)

    async def send(message):
        sent.append(message)

    guard = Guard(app, ["lab", "Proxy.example"], anywhere=anywhere, most=10)
    asyncio.run(guard({"type": kind, "headers": headers}, receive, send))
    return sent[0].get("status", sent[0].get("code")), sent[-1].get("body", b"").decode()


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "lab:80", "proxy.example"]
)
def test_our_own_names_are_let_in(host):
    assert asked(host) == (200, "in")
    assert asked(host, f"http://{host}") == (200, "in")
    assert asked(host, f"https://{host}") == (200, "in")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:7860", "",
     "192.168.1.5", "[::1", "lab@evil.example", None],
)  # fmt: skip
def test_other_names_are_not_whatever_they_end_in(host):
    status, told = asked(host)
    assert status == 403
    assert "--allow-host" in told


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:7861",
        "http://localhost:7860",
        "",
        "http://[",
    ],
)
def test_other_pages_are_not(origin):
    assert asked("127.0.0.1:7860", origin)[0] == 403


def test_where_the_page_is_open_to_others_an_address_will_do_and_a_name_will_not():
    assert asked("192.168.1.5:7860", anywhere=True) == (200, "in")
    assert asked("evil.example:7860", anywhere=True)[0] == 403


def test_a_request_that_is_too_long_is_cut_off_whatever_it_says_of_itself():
    assert asked("lab", body=(b"12345", b"67890")) == (200, "1234567890")
    for more in ({"length": 11}, {"body": (b"12345", b"67890", b"1", b"never read")}):
        assert asked("lab", **more) == (413, "more than 10 bytes: make the picture smaller\n")


def test_a_socket_is_closed_and_other_scopes_pass():
    assert asked("evil.example", kind="websocket") == (1008, "")
    assert asked(None, kind="lifespan") == (200, "in")


# --- before the page ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a network of one's own, in a process of its own."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed")
    folder = tmp_path_factory.mktemp("secret")
    (folder / "net.py").write_text(NET)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = ["serve", "--model", f"{folder / 'net.py'}:build", "--size", "32", "--port", port]
    server = subprocess.Popen(
        [sys.executable, "-m", "gradcam_hooks", *map(str, words), "--allow-host", "lab.example"],
        cwd=Path(gh.__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
        # what a shell starts in the background ignores SIGINT, and so does all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert server.stdout is not None
    assert "Open http://127.0.0.1" in server.stdout.readline()
    yield f"http://127.0.0.1:{port}"
    server.send_signal(signal.SIGINT)
    assert server.communicate(timeout=60)[0].endswith("by Ctrl-C\n")


EVIL = {"Host": "evil.example", "Origin": "http://evil.example"}


def test_a_name_that_was_pointed_here_gets_nothing(page):
    import httpx

    files = {"files": ("a.png", b"1")}
    for headers in (EVIL, {"Origin": EVIL["Origin"]}, {"Host": EVIL["Host"]}):
        for answer in (
            httpx.get(f"{page}/config", headers=headers),
            httpx.post(f"{page}/gradio_api/upload", headers=headers, files=files),
            httpx.options(
                f"{page}/config", headers={**headers, "Access-Control-Request-Method": "POST"}
            ),
        ):
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]
    assert httpx.get(f"{page}/config", headers={"Host": "lab.example"}).status_code == 200


def test_a_picture_that_is_too_large_is_refused_before_it_is_here(page):
    import httpx

    def upload(size: int) -> httpx.Response:
        files = {"files": ("a.png", io.BytesIO(bytes(size)))}
        return httpx.post(f"{page}/gradio_api/upload", files=files, timeout=60)

    def chunks() -> Iterator[bytes]:
        for _ in range(120):
            yield bytes(1_000_000)

    assert httpx.get(f"{page}/config").json()["max_file_size"] == 100_000_000
    assert upload(1_000).status_code == 200
    assert upload(102_000_000).status_code == 413
    try:
        status = httpx.post(f"{page}/gradio_api/queue/join", content=chunks()).status_code
    except httpx.TransportError:  # it hung up while we were still talking
        status = 413
    assert status == 413


def explained(page: str, path: str, session: str = "a") -> str:
    """What the page tells of a picture that it was told to have."""
    import httpx

    config = httpx.get(f"{page}/config").json()
    drop = next(one for one in config["dependencies"] if len(one["inputs"]) == 6)
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [file, None, "0", "gradcam", 0.5, "viridis"]
    asked = {"data": data, "fn_index": drop["id"], "session_hash": session}
    httpx.post(f"{page}/gradio_api/queue/join", json=asked).raise_for_status()
    told = ""
    address = f"{page}/gradio_api/queue/data?session_hash={session}"
    with httpx.stream("GET", address, timeout=300) as lines:
        for line in lines.iter_lines():
            told += line
            if "process_completed" in line or "close_stream" in line:
                break
    return told


def test_the_picture_that_was_sent_is_explained_and_no_other_file_read(page, tmp_path):
    import httpx

    def sent(name: str, data: bytes) -> str:
        files = {"files": (name, data)}
        return httpx.post(f"{page}/gradio_api/upload", files=files).json()[0]

    told = explained(page, sent("cat.png", noise(tmp_path / "cat.png").read_bytes()))
    assert "Grad-CAM" in told
    bomb = io.BytesIO()
    Image.new("1", (10_000, 7_000)).save(bomb, "PNG")
    told = explained(page, sent("bomb.png", bomb.getvalue()))
    assert "too large to be read safely" in told
    assert tempfile.gettempdir() not in told
    private = Path(__file__)  # in the folder that the server runs in
    told = explained(page, str(noise(tmp_path / "private.png")))
    assert "Grad-CAM" not in told
    assert "Traceback" not in told
    for path in (private, tmp_path / "private.png", "/etc/passwd", "../../../../etc/passwd"):
        answer = httpx.get(f"{page}/gradio_api/file={path}")
        assert answer.status_code in (403, 404)
        assert "import" not in answer.text


def test_of_fifty_requests_at_once_each_gets_its_own_answer(page, tmp_path):
    import httpx

    paths = []
    for number in range(5):
        data = noise(tmp_path / f"{number}.png", number, (24, 24 + number)).read_bytes()
        files = {"files": (f"{number}.png", data)}
        paths.append(httpx.post(f"{page}/gradio_api/upload", files=files).json()[0])

    def told(number: int) -> set[str]:
        """Where the page keeps the pictures that it answers with: by what is in them."""
        answer = explained(page, paths[number % 5], f"fifty{number}")
        return set(re.findall(r"[0-9a-f]{64}", answer))

    alone = [told(number) for number in range(5)]
    assert len({*map(frozenset, alone)}) == 5
    with ThreadPoolExecutor(50) as pool:
        for number, found in enumerate(pool.map(told, range(50))):
            assert found == alone[number % 5]


def test_no_folder_of_the_server_is_told(page):
    import httpx

    for path in ("", "config", "manifest.json", "gradio_api/info", "theme.css", "nothing"):
        text = httpx.get(f"{page}/{path}", follow_redirects=True).text
        assert "secret" not in text
        assert "Traceback" not in text
    assert "net.py:build" in httpx.get(f"{page}/config").text
