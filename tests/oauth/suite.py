"""What the suite in Python needs: the system's description, a list of cases, and a small
browser that signs a user in."""

import html
import json
import os
import re
import sys
import traceback
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

# Written by tests/it/oauth/libraries.rs, which starts the system.
SUITE = json.loads(os.environ["CLOAKROOM_SUITE"])
ISSUER = SUITE["issuer"]
CLIENTS = SUITE["clients"]

_cases = []


def case(name):
    """Names a case. All of them run, one after the other."""

    def add(function):
        _cases.append((name, function))
        return function

    return add


def run():
    """Runs the cases; the process fails if one of them does."""
    failed = 0
    for name, function in _cases:
        try:
            function()
            print(f"ok {name}")
        except Exception:  # every failure is reported, and the next case runs
            failed += 1
            print(f"FAILED {name}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(_cases) - failed} of {len(_cases)}")
    sys.exit(1 if failed or not _cases else 0)


class Browser:
    """Cookies, redirects, meta refresh and forms; no script."""

    def __init__(self):
        self._cookies = {}

    def _step(self, method, url, **more):
        host = urlsplit(url).hostname
        pairs = [f"{name}={value}" for (of, name), value in self._cookies.items() if of == host]
        headers = dict(more.pop("headers", {}))
        if pairs:
            headers["Cookie"] = "; ".join(pairs)
        answer = requests.request(
            method, url, headers=headers, allow_redirects=False, timeout=30, **more
        )
        for line in answer.raw.headers.getlist("Set-Cookie"):
            pair, *attributes = line.split("; ")
            name, value = pair.split("=", 1)
            if "Max-Age=0" in attributes:
                self._cookies.pop((host, name), None)
            else:
                self._cookies[host, name] = value
        return answer

    def authorize(self, url, redirect_uri, user="alice", decision="allow"):
        """Goes to `url`, signs `user` in and agrees to what it is asked, until it is sent to
        `redirect_uri`; there."""
        method, more = "GET", {}
        answers = {"username": user, "password": user, "decision": decision}
        for _ in range(12):
            answer = self._step(method, url, **more)
            location = answer.headers.get("location")
            if location is not None:
                assert answer.status_code == 303, f"{url} redirects by 303"
                url = urljoin(url, location)
                if url.startswith(redirect_uri):
                    return url
                method, more = "GET", {}
                continue
            assert answer.status_code == 200, f"{url}: {answer.text}"
            refresh = re.search(r'http-equiv="refresh" content="[^"]*url=([^"]*)"', answer.text)
            if refresh:
                method, more = "GET", {}
                url = urljoin(url, html.unescape(refresh[1]))
                continue
            method = "POST"
            url, more = _submit(answer.text, url, answers)
        raise AssertionError("sent round in circles")


def _submit(page, url, answers):
    tag, inside = re.search(r"<form([^>]*)>(.*?)</form>", page, re.S).groups()

    def attribute(text, name):
        found = re.search(rf' {name}="([^"]*)"', text)
        return html.unescape(found[1]) if found else None

    form = {}
    for field in re.findall(r"<(?:input|button)[^>]*>", inside):
        name = attribute(field, "name")
        if name is not None and name not in form:
            form[name] = answers.get(name, attribute(field, "value") or "")
    target = urljoin(url, attribute(tag, "action") or url)
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(target))
    return target, {"data": form, "headers": {"Origin": origin}}


def call(path, token):
    """What an API says to a bearer of `token`."""
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(ISSUER + path, headers=headers, timeout=30)


def parameter(url, name):
    """A parameter of a URL's query."""
    values = parse_qs(urlsplit(url).query).get(name)
    return values[0] if values else None
