"""Other people's clients, and nginx and HAProxy in front; both interpreters. `make interop` installs them.

A thousand requests each way without an error: GET, POST by length and by chunks, HEAD, 404, streamed responses.
"""

import asyncio
import collections
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import aiohttp
import httpx
import pytest
from conftest import APPS, Server, start, wait_until

N = 1000
BODY = "x" * 3000


def tool(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name) or shutil.which(name, path="/usr/sbin"))), None)
    assert found, f"{names[0]} is not installed: make interop installs it"
    return found


@pytest.fixture(scope="module")
def origin(python, tmp_path_factory):
    """The server that is tested; with an idle time so short that proxies meet it while they keep connections."""
    log = tmp_path_factory.mktemp("origin") / "log"
    server = start(
        log, "interop:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--proxy-headers", "x-forwarded"
    )  # fmt: skip
    yield server
    assert server.stop() == 0, server.log
    assert " error " not in server.log, server.log


def run(*command: str, timeout: float = 120) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


# ---- clients ------------------------------------------------------------------------------------


def test_curl(origin, tmp_path):
    """One process, a thousand transfers over kept connections; then each special way once."""
    config = tmp_path / "config"
    entries = []
    for i in range(N):
        entries.append(f'url = "{origin.url}/item/{i}?q=a%20b"\noutput = "/dev/null"\n')
        if i % 4 == 1:
            entries[-1] += f'data = "{BODY}"\nurl = "{origin.url}/echo"\noutput = "/dev/null"\n'
    config.write_text("next\n".join(f'write-out = "%{{http_code}} %{{num_connects}}\\n"\n{e}' for e in entries))
    out = [line.split() for line in run("curl", "-sS", "--config", str(config)).splitlines()]
    assert collections.Counter(code for code, _ in out)["200"] >= N * 3 // 4
    assert {code for code, _ in out} <= {"200", "405"}  # data goes to /item too: POST is not allowed there
    assert sum(int(n) for _, n in out) == 1
    body = tmp_path / "body"
    body.write_bytes(os.urandom(3_000_000))
    for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"], ["--http1.0"]):
        if "--http1.0" in extra:
            assert run("curl", "-sS", "--http1.0", f"{origin.url}/lines/3") == "line 0\nline 1\nline 2\n"
        else:
            got = run("curl", "-sS", *extra, "--data-binary", f"@{body}", f"{origin.url}/count")
            assert json.loads(got) == {"bytes": 3_000_000}
    assert run("curl", "-sS", "-I", f"{origin.url}/item/1").startswith("HTTP/1.1 200 OK")


@pytest.mark.parametrize("path", ["/item/7", "/lines/20"])
def test_wrk(origin, path):
    out = run("wrk", "-c", "16", "-t", "1", "-d", "2s", origin.url + path)
    assert "Socket errors" not in out
    assert "Non-2xx" not in out
    assert int(re.search(r"(\d+) requests in", out)[1]) >= N


@pytest.mark.parametrize("extra", [[], ["-m", "16"], ["-d", __file__]])
def test_h2load_over_http_1(origin, extra):
    path = "/echo" if "-d" in extra else "/item/7"
    out = run(tool("h2load"), "--h1", "-n", str(N), "-c", "8", *extra, origin.url + path)
    assert f"{N} succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert f"status codes: {N} 2xx" in out


def test_http_client(origin):
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=20)
    for i in range(N):
        match i % 4:
            case 0:
                connection.request("GET", f"/item/{i}")
            case 1:
                connection.request("POST", "/echo", body=BODY)
            case 2:
                connection.request("POST", "/echo", body=iter([BODY[:1000].encode(), BODY[1000:].encode()]))
            case 3:
                connection.request("GET", "/lines/3")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200
        assert text == {0: json.dumps({"item": i}, separators=(",", ":")), 3: "line 0\nline 1\nline 2\n"}.get(
            i % 4, BODY
        )
    connection.close()


def test_httpx(origin):
    with httpx.Client(base_url=origin.url, timeout=20) as client:
        for i in range(N // 2):
            assert client.get(f"/item/{i}").json() == {"item": i}
            assert client.post("/echo", content=iter([BODY.encode()])).text == BODY
        with client.stream("GET", "/lines/1000") as response:
            assert len(list(response.iter_lines())) == 1000


def test_aiohttp(origin):
    async def main() -> None:
        async with aiohttp.ClientSession(origin.url) as session:

            async def one(i: int) -> None:
                async with session.get(f"/item/{i}") as response:
                    assert await response.json() == {"item": i}
                async with session.post("/echo", data=BODY) as response:
                    assert await response.text() == BODY

            for start_ in range(0, N // 2, 50):
                await asyncio.gather(*(one(i) for i in range(start_, start_ + 50)))

    asyncio.run(main())


def test_node_fetch(origin, tmp_path):
    script = tmp_path / "fetch.mjs"
    script.write_text(
        """
const [, , url, n] = process.argv;
const body = 'x'.repeat(3000);
for (let i = 0; i < +n / 4; i++) {
  const [a, b, c, d] = await Promise.all([
    fetch(`${url}/item/${i}`).then(r => r.json()),
    fetch(`${url}/echo`, {method: 'POST', body}).then(r => r.text()),
    fetch(`${url}/lines/3`).then(r => r.text()),
    fetch(`${url}/nowhere`).then(r => r.status),
  ]);
  if (a.item !== i || b !== body || c !== 'line 0\\nline 1\\nline 2\\n' || d !== 404) throw new Error(`${i}`);
}
console.log('done');
"""
    )
    assert run(tool("node"), str(script), origin.url, str(N)).strip() == "done"


def test_a_browser(origin, tmp_path):
    """The page fetches a thousand times and writes the count into its body, which the browser prints."""
    out = run(
        tool("chromium", "chromium-browser", "google-chrome"),
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=60000", "--dump-dom", f"{origin.url}/page/{N}",
    )  # fmt: skip
    assert f"<p>{N} fetched, 0 errors</p>" in out, out


# ---- proxies ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def proxy(port: int, command: list[str], log: Path):
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)

    def listening() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    try:
        wait_until(listening)
        yield
    finally:
        process.terminate()
        process.wait(20)


def nginx(folder: Path, port: int, upstream: Server) -> list[str]:
    (folder / "nginx.conf").write_text(f"""
daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream app {{ server 127.0.0.1:{upstream.port}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port}; client_max_body_size 10m;
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host:$server_port; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https; proxy_request_buffering off;
        }}
    }}
}}
""")
    return [tool("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, upstream: Server, extra: str = "") -> list[str]:
    (folder / "haproxy.cfg").write_text(f"""
global
    maxconn 256
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 5s
    option forwardfor
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Proto https
    default_backend app
backend app
    server one 127.0.0.1:{upstream.port} {extra}
""")
    return [tool("haproxy"), "-f", str(folder / "haproxy.cfg"), "-db"]


def connections(server: Server) -> int:
    """Accepted so far by all workers."""
    import signal

    before = len(server.log)
    server.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: server.log[before:].count("status: worker") >= 2)
    time.sleep(0.05)
    return sum(int(n) for n in re.findall(r"status: worker.* (\d+) accepted", server.log[before:]))


def through(url: str, origin: Server) -> None:
    before = connections(origin)
    # from an address that is no trusted proxy's, as the proxies' own is
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), base_url=url, timeout=20) as client:
        for i in range(N // 5):
            assert client.get(f"/item/{i}").json() == {"item": i}
            assert client.post("/echo", content=BODY).text == BODY
            assert client.post("/echo", content=iter([BODY.encode()])).text == BODY
            assert client.get("/lines/50").text.count("\n") == 50
            assert client.head(f"/item/{i}").status_code == 200
        who = client.get("/who").json()
        assert who["client"][0] == "127.0.0.2"
        assert who["url"].startswith("https://127.0.0.1:")
        # what a client claims stands left of what the proxy adds, and is not believed
        claimed = client.get("/who", headers={"X-Forwarded-For": "203.0.113.7"}).json()
        assert claimed["client"][0] == "127.0.0.2"
        assert client.get("/nowhere").status_code == 404
        big = client.post("/count", content=b"y" * 5_000_000)
        assert big.json() == {"bytes": 5_000_000}
    out = run("wrk", "-c", "8", "-t", "1", "-d", "2s", f"{url}/item/7")
    assert "Socket errors" not in out
    assert "Non-2xx" not in out
    requests = int(re.search(r"(\d+) requests in", out)[1])
    assert requests >= N
    assert connections(origin) - before < requests / 20, "the upstream connections were not kept"


def test_nginx_in_front(origin, tmp_path):
    port = free_port()
    with proxy(port, nginx(tmp_path, port, origin), tmp_path / "log"):
        through(f"http://127.0.0.1:{port}", origin)
    errors = [
        line for line in (tmp_path / "error.log").read_text().splitlines() if "[error]" in line or "[crit]" in line
    ]
    assert not errors, errors


def test_haproxy_in_front(origin, tmp_path):
    port = free_port()
    with proxy(port, haproxy(tmp_path, port, origin), tmp_path / "log"):
        through(f"http://127.0.0.1:{port}", origin)


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_with_the_proxy_protocol(serve, python, tmp_path, version):
    upstream = serve("interop:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--proxy-protocol")
    port = free_port()
    with (
        proxy(port, haproxy(tmp_path, port, upstream, version), tmp_path / "log"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for i in range(N):
            assert client.get(f"/item/{i}").json() == {"item": i}
        address = client.get("/who").json()["client"]
        assert address[0] == "127.0.0.1"
        assert address[1] != upstream.port
