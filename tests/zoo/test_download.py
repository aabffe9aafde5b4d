"""Bytes from the web: continued, checked, and from nowhere else than the web."""

import hashlib
import socket
from pathlib import Path

import pytest
from helpers import says
from servers import file_server

from keras_unet3d import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.machine import folders
from keras_unet3d.zoo.addresses import refuse_redirect, refuse_unsafe, split_digest
from keras_unet3d.zoo.download import download, fetched, read_url

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _alone(new_home, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.zip").write_bytes(CONTENT)
    with file_server(tmp_path / "site") as site:
        yield site


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "here" / "a.zip"


def ranges(site) -> list[str | None]:
    return [wanted for _, wanted in site.asked]


def refuses(site, target, *words, path: str = "/a.zip", **promised) -> None:
    """Check that a download is refused in these words, and that no file is there afterwards."""
    with pytest.raises(InputError, match=says("expected", "found", *words)):
        download(site.url + path, target, **promised)
    assert not target.exists()


# ---- whole, or continued ---------------------------------------------------------------------------


def test_a_file_arrives_whole_and_the_listener_hears_of_it(site, target):
    heard = []
    listener = Listener(progress=lambda *numbers: heard.append(numbers))
    download(f"{site.url}/a.zip", target, size=len(CONTENT), digest=DIGEST, listener=listener)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["a.zip"]
    assert heard == [(0, 1)]


def test_a_cut_is_continued_where_it_was(site, target):
    site.cuts = [1000, 500]
    download(f"{site.url}/a.zip", target, digest=DIGEST)
    assert target.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=1000-", "bytes=1500-"]


def test_the_next_call_continues_what_an_earlier_one_left(site, target):
    site.cuts = [1000, 0]
    refuses(site, target, f"{len(CONTENT)} bytes", "found 1000 before the connection was cut", "continues")
    site.asked.clear()
    download(f"{site.url}/a.zip", target)
    assert target.read_bytes() == CONTENT
    assert ranges(site) == ["bytes=1000-"]


def test_a_server_that_gives_no_parts_gives_it_all_again(site, target):
    site.ranges = False
    site.cuts = [1000, 0]
    refuses(site, target, "before the connection was cut")
    download(f"{site.url}/a.zip", target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_what_was_whole_when_the_process_died_is_whole(site, target):
    target.parent.mkdir()
    (target.parent / ".unfinished.a.zip").write_bytes(CONTENT)
    download(f"{site.url}/a.zip", target, digest=DIGEST)
    assert target.read_bytes() == CONTENT
    assert ranges(site) == [f"bytes={len(CONTENT)}-", None]


def test_the_rest_of_another_file_is_noticed_by_the_checksum_and_thrown_away(site, target):
    target.parent.mkdir()
    (target.parent / ".unfinished.a.zip").write_bytes(b"other" * 100)
    refuses(site, target, DIGEST, "thrown away", digest=DIGEST)
    download(f"{site.url}/a.zip", target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_folder_of_a_download_is_gone_when_it_was_used(site):
    address = f"{site.url}/a.zip"

    def fetch(place):
        download(address, place / "a.zip")
        return place / "a.zip"

    with fetched(address, fetch) as path:
        assert path.read_bytes() == CONTENT
        assert folders.downloads() in path.parents
    assert not path.parent.exists()
    site.cuts = [1000, 0]
    with pytest.raises(InputError), fetched(address, fetch):
        pass
    assert (path.parent / ".unfinished.a.zip").read_bytes() == CONTENT[:1000]


# ---- what is promised ------------------------------------------------------------------------------


def test_another_checksum_is_refused(site, target):
    refuses(site, target, "SHA-256", "0" * 64, "thrown away", digest="0" * 64)


def test_another_size_is_refused_before_anything_is_downloaded(site, target):
    refuses(site, target, "expected 99 bytes", f"a file of {len(CONTENT)}", "not downloaded", size=99)
    assert not target.parent.exists()


def test_more_than_was_promised_is_refused_where_the_server_says_no_length(site, target):
    site.says_length = False
    refuses(site, target, "expected 99 bytes", "found more", size=99)


def test_half_a_file_is_noticed_where_the_server_says_no_length(site, target):
    site.says_length = False
    site.cuts = [100, 0]
    refuses(site, target, f"expected {len(CONTENT)} bytes", "found 100", size=len(CONTENT))


def test_a_web_page_is_no_file(site, target):
    site.pages = {"/a.zip"}
    refuses(site, target, "found a web page", "logged in")


def test_a_file_that_is_not_there_is_said(site, target):
    refuses(site, target, "/b.zip", "no such file", path="/b.zip")


def test_what_is_read_at_once_has_a_limit(site):
    assert read_url(f"{site.url}/a.zip", len(CONTENT)) == CONTENT
    with pytest.raises(InputError, match=says("at most 100 bytes", "found more")):
        read_url(f"{site.url}/a.zip", 100)
    site.cuts = [50]
    with pytest.raises(InputError, match=says(f"expected {len(CONTENT)} bytes", "found 50")):
        read_url(f"{site.url}/a.zip", len(CONTENT))


# ---- where from ------------------------------------------------------------------------------------


def test_a_redirect_on_the_web_is_followed(site, target):
    site.redirects = {"/old.zip": f"{site.url}/a.zip"}
    site.cuts = [1000]
    download(f"{site.url}/old.zip", target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a.zip", "data:text/plain,a", "/old.zip"])
def test_a_redirect_to_anything_else_or_in_a_circle_is_refused(site, target, place):
    site.redirects = {"/old.zip": place}
    refuses(site, target, "redirect", "not followed", path="/old.zip")


def test_a_redirect_from_https_to_http_is_refused():
    with pytest.raises(InputError, match=says("redirect to http://", "not followed")):
        refuse_redirect("https://a.org/a.zip", "http://localhost/a.zip", DIGEST)
    refuse_redirect("https://a.org/a.zip", "https://b.org/a.zip", None)


def test_plain_http_is_refused_unless_the_checksum_is_known_or_the_server_is_this_machine():
    for url in ("http://a.org/a.zip", "http://localhost.a.org/a.zip", "http://127.0.0.1.a.org/a.zip"):
        with pytest.raises(InputError, match=says(url, "expected https://", "#sha256=")):
            refuse_unsafe(url, None)
        refuse_unsafe(url, DIGEST)
    for url in (
        "http://localhost:80/a.zip",
        "http://127.0.0.1/a.zip",
        "http://[::1]:8000/a.zip",
        "https://a.org/a.zip",
    ):
        refuse_unsafe(url, None)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.org/a", "https:///a.zip", "https://a.org:port/a.zip"])
def test_other_addresses_are_refused(url, target):
    with pytest.raises(InputError, match=says("expected an address")):
        download(url, target)


def test_passwords_and_what_follows_a_question_mark_are_in_no_message(target):
    with pytest.raises(InputError, match=says("without a password")) as caught:
        download("https://me:secret@a.org/a.zip?token=secret", target)
    assert "secret" not in str(caught.value)


def test_the_fragment_is_a_checksum_or_nothing():
    assert split_digest("https://a.org/a.zip") == ("https://a.org/a.zip", None)
    assert split_digest(f"https://a.org/a.zip#sha256={DIGEST.upper()}") == ("https://a.org/a.zip", DIGEST)
    for wrong in ("#", "#sha256=abc", "#md5=0", f"#{DIGEST}"):
        with pytest.raises(InputError, match=says("#sha256=", "64 hexadecimal digits")):
            split_digest(f"https://a.org/a.zip{wrong}")


def test_the_proxy_of_the_environment_is_asked(site, target, monkeypatch):
    monkeypatch.setenv("http_proxy", site.url)
    download("http://models.invalid/a.zip", target, digest=DIGEST)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("http://models.invalid/a.zip", None)]


def test_without_a_network_it_is_said_what_to_do(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.zip"
    with pytest.raises(InputError, match=says(url, "a server that answers", "refused", "https_proxy", "from its path")):
        download(url, target)
