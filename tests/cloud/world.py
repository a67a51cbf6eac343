"""The machine on which the emulated cloud runs: a network of its own, its own names and
certificates, and the emulator. Nothing of it is visible outside of the namespace, and all of it ends
with the process.

`World` must be entered inside of `unshare --mount --net` (see `run.py`).
"""

import ctypes
import datetime
import fcntl
import http.client
import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
PORT = 4566
ENDPOINT = f"http://127.0.0.1:{PORT}"

API_HOST = "api.cloakroom.test"
# Two places where the services behind the API can be.
BACKENDS = ("services.test", "other-services.test")
COGNITO_HOST = f"cognito-idp.{REGION}.amazonaws.com"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


def loopback_up() -> None:
    """`ip link set lo up`, without the program."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack_from("h", fcntl.ioctl(probe, 0x8913, name + bytes(16)), 16)  # SIOCGIFFLAGS
        fcntl.ioctl(probe, 0x8914, name + struct.pack("h", flags | 1) + bytes(14))  # SIOCSIFFLAGS, IFF_UP


def bind_mount(source: Path, target: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(str(source).encode(), target.encode(), None, 4096, None):  # MS_BIND
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {target}: {os.strerror(number)}")


class Certificates:
    """A certificate authority of this run alone, and one certificate for every name."""

    def __init__(self, folder: Path, names: list[str]):
        now = datetime.datetime.now(datetime.timezone.utc)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests/cloud")])
        key = ec.generate_private_key(ec.SECP256R1())

        def certificate(subject, public_key, *extensions):
            builder = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(public_key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=1))
            )
            for extension in extensions:
                builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            return builder.sign(ca_key, hashes.SHA256())

        ca = certificate(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        leaf = certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, API_HOST)]),
            key.public_key(),
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        )
        pem = serialization.Encoding.PEM
        self.ca = ca.public_bytes(pem).decode()
        self.certificate = leaf.public_bytes(pem).decode()
        self.key = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        paths = ssl.get_default_verify_paths()
        roots = [path for path in (paths.cafile, paths.openssl_cafile) if path and os.path.exists(path)]
        system = Path(roots[0]).read_text() if roots else ""
        self.bundle = folder / "roots.pem"
        self.bundle.write_text(system + "\n" + self.ca)
        self.served = folder / "served.pem"
        self.served.write_text(self.certificate + self.key)


class Proxy(http.server.ThreadingHTTPServer):
    """Port 443 of every name: the services answer themselves, all else is the emulator's.

    Keeps `Host`, as a TLS terminator does, and says in `X-Forwarded-Proto` that it was https."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certificates: Certificates):
        self.services = Services()
        super().__init__(("127.0.0.1", 443), ProxyHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.served)
        # The handshake is made by the request's own thread: a slow client must not hold up others.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ssl.SSLError, ConnectionError)):
            super().handle_error(request, client_address)


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = self.headers.get("Host", "").split(":")[0]
        if host in BACKENDS:
            return self.answer(*self.server.services.answer(host, self.command, self.path, self.headers))
        upstream = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "x-forwarded-proto", "keep-alive"):
                    upstream.putheader(name, value)
            upstream.putheader("X-Forwarded-Proto", "https")
            upstream.putheader("Connection", "close")
            upstream.endheaders(body)
            response = upstream.getresponse()
            self.answer(response.status, response.getheaders(), response.read())
        except OSError as error:
            self.answer(599, [], f"the emulator does not answer: {error}".encode())
        finally:
            upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = forward

    def answer(self, status: int, headers: list, body: bytes):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "keep-alive", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: tokens are in what is sent."""


class Services:
    """The services behind the API. Each says who it is and which headers reached it."""

    def answer(self, host: str, method: str, path: str, headers) -> tuple[int, list, bytes]:
        said = {"service": host, "method": method, "path": path}
        said["headers"] = {name.lower(): value for name, value in headers.items()}
        return 200, [("Content-Type", "application/json")], json.dumps(said).encode()


class World:
    """Names, certificates, proxy and emulator. `environment` is what programs in here are started with."""

    def __init__(self, folder: Path, emulator_python: Path):
        self.folder = folder
        self.emulator_python = emulator_python
        self.hosts = ["localhost", API_HOST, *BACKENDS, COGNITO_HOST]
        self.processes: list[subprocess.Popen] = []

    def __enter__(self):
        loopback_up()
        (self.folder / "hosts").write_text("")
        self.name()
        bind_mount(self.folder / "hosts", "/etc/hosts")
        self.certificates = Certificates(self.folder, [*self.hosts[1:], "*.cloudfront.net"])
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "LANG": "C.UTF-8",
            "SSL_CERT_FILE": str(self.certificates.bundle),
            "AWS_ENDPOINT_URL": ENDPOINT,
            "AWS_MAX_ATTEMPTS": "2",
            **CREDENTIALS,
        }
        os.environ.update({name: value for name, value in self.environment.items() if name != "PATH"})
        self.context = ssl.create_default_context(cafile=str(self.certificates.bundle))
        self.proxy = Proxy(self.certificates)
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.start_emulator()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.proxy.shutdown()

    def name(self, *hosts: str) -> None:
        """Gives this machine more names."""
        self.hosts += [host for host in hosts if host not in self.hosts]
        # Written in place, since the mount is of this file; the text only grows, so nobody sees less of it.
        with open(self.folder / "hosts", "r+") as file:
            file.write("".join(f"127.0.0.1 {host}\n" for host in self.hosts))

    def start_emulator(self) -> None:
        log = open(self.folder / "emulator.log", "wb")
        emulator = subprocess.Popen(
            [self.emulator_python, Path(__file__).with_name("emulator.py")],
            env=self.environment
            | {"GATEWAY_PORT": str(PORT), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        self.processes.append(emulator)
        for _ in range(600):
            if emulator.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", PORT), 1):
                    return
            except OSError:
                time.sleep(0.1)
        said = (self.folder / "emulator.log").read_text(errors="replace")[-3000:]
        raise SystemExit(f"the emulator did not start:\n{said}")
