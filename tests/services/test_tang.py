"""A real Tang server in a real container, used by a client of the test's own through the fault proxy."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient
from tang_client import TESTER, Binding, ask, reachable

from harness import cache
from harness.errors import HostError, RigError, UsageError
from harness.host.docker import docker_client
from harness.network.connection import Client
from harness.network.namespace import Endpoint
from harness.progress import Progress
from harness.services.container import OWNER_LABEL, OwnedContainer
from harness.services.held import save
from harness.services.service_image import ServiceImage
from harness.services.tang import Tang, make_keys, serve_tang
from harness.services.tang_image import tang_image
from harness.services.tang_keys import TangKeys
from harness.services.tang_server import TangServer

pytestmark = pytest.mark.real

QUIET = Progress(io.StringIO())
PATIENCE = 20.0
PLACE = Endpoint(8080)


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / "run"))
    monkeypatch.delenv("UNLOCK_LAB_TANG_IMAGE", raising=False)


@pytest.fixture
def docker() -> Iterator[DockerClient]:
    with docker_client() as client:
        yield client


@pytest.fixture
def image(docker: DockerClient) -> ServiceImage:
    return tang_image(docker, Progress())


@pytest.fixture
def tang() -> Iterator[Tang]:
    with serve_tang("tang", None, PLACE, Progress()) as tang:
        yield tang
    assert not containers_of(os.getpid())


@pytest.fixture
def port(tang: Tang) -> Iterator[int]:
    with reachable(tang) as port:
        yield port


def containers_of(process: int) -> list[str]:
    """Whatever the daemon still has of a process, running or not."""
    with docker_client() as client:
        found = client.containers.list(all=True, filters={"label": f"{OWNER_LABEL}={process}"}, ignore_removed=True)
        return [container.name or "?" for container in found]


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE, f"never: {what}"
        time.sleep(0.02)


def test_a_client_recovers_its_secret_and_the_log_shows_it(tang: Tang, port: int) -> None:
    assert tang.requests == (), "the harness's own probe is left out"
    binding = Binding.make(port)
    before = time.time()
    assert binding.recover(port) == (200, binding.secret)
    wait_for(lambda: tang.recoveries, "the line in the log")
    [recovery] = tang.recoveries
    assert before - 1 <= recovery.time <= time.time()
    assert f".{recovery.path.removeprefix('/rec/')}" not in tang.keys.hidden
    assert f"{recovery.path.removeprefix('/rec/')}.jwk" in tang.keys.advertised
    assert tang.url == "http://10.0.2.2:8080"
    assert "POST /rec/" in tang.raw_log
    assert b"POST /rec/" in tang.connections[-1].sent


def test_thumbprint_is_the_signing_keys(tang: Tang, port: int, docker: DockerClient) -> None:
    """``jose jwk thp -i /db/KEY.jwk``, as the author of seed 000 found it: right for one of the two keys there."""
    [container] = docker.containers.list(filters={"label": f"{OWNER_LABEL}={os.getpid()}"})
    for name in tang.keys.advertised:
        printed = container.exec_run(["jose", "jwk", "thp", "-i", f"/var/lib/tang/{name}"])
        assert isinstance(printed.output, bytes)
        assert (printed.exit_code, printed.output.decode().strip()) == (0, name.removesuffix(".jwk"))
    [other] = {name.removesuffix(".jwk") for name in tang.keys.advertised} - {tang.thumbprint}
    assert ask(port, "GET", f"/adv/{tang.thumbprint}")[0] == 200
    assert ask(port, "GET", f"/adv/{other}")[0] == 404


def test_stopped_it_refuses_and_started_again_it_is_the_same(tang: Tang, port: int) -> None:
    binding, keys = Binding.make(port), tang.keys
    tang.stop()
    with pytest.raises(ConnectionRefusedError):
        binding.recover(port)
    assert tang.keys == keys
    assert not containers_of(os.getpid())
    tang.stop()
    with pytest.raises(UsageError, match="stopped"):
        tang.answer()
    tang.start()
    tang.start()
    assert tang.keys == keys
    assert binding.recover(port) == (200, binding.secret)
    wait_for(lambda: tang.recoveries, "the line in the log")
    assert [request.method for request in tang.requests] == ["GET", "POST"], "the log of both lives, without probes"


def test_silent_and_stalled_it_answers_nobody_and_counts_them(tang: Tang, port: int) -> None:
    binding = Binding.make(port)
    tang.go_silent()
    with pytest.raises(TimeoutError):
        binding.recover(port, timeout=1.5)
    vanished = tang.unanswered
    assert vanished >= 1
    tang.answer()
    assert binding.recover(port) == (200, binding.secret)
    assert tang.unanswered == vanished
    tang.stall()
    with pytest.raises(TimeoutError):
        binding.recover(port, timeout=1.0)
    assert tang.unanswered == vanished + 1
    tang.answer()
    wait_for(lambda: len(tang.recoveries) == 1, "just one recovery")


def test_rotated_keys_still_recover_until_they_are_deleted(tang: Tang, port: int) -> None:
    binding, old = Binding.make(port), tang.keys
    tang.rotate_keys()
    assert set(tang.keys.hidden) == {f".{name}" for name in old.advertised}
    assert tang.thumbprint != old.thumbprint
    assert binding.recover(port) == (200, binding.secret)
    tang.delete_old_keys()
    assert tang.keys.hidden == ()
    assert binding.recover(port) == (404, None)
    renewed = Binding.make(port)
    assert renewed.recover(port) == (200, renewed.secret)
    tang.stop()
    tang.start()
    assert renewed.recover(port) == (200, renewed.secret)
    assert binding.recover(port) == (404, None)


def test_an_imposter_has_other_keys_at_the_same_address(tang: Tang, port: int) -> None:
    binding, genuine, url = Binding.make(port), tang.keys, tang.url
    tang.replace_keys()
    assert tang.url == url
    assert not set(tang.keys.files) & set(genuine.files)
    assert binding.recover(port) == (404, None)
    tang.replace_keys(genuine)
    assert tang.keys == genuine
    assert binding.recover(port) == (200, binding.secret)


def test_a_forged_reply_does_not_yield_the_secret(tang: Tang, port: int) -> None:
    """What a replayed or redirected recovery comes down to: the client computes, and gets something else."""
    binding = Binding.make(port)
    assert binding.recover(port) == (200, binding.secret)
    wait_for(lambda: tang.connections[-1].closed, "the end of the connection")
    old_reply = tang.connections[-1].received
    tang.tamper(lambda _: old_reply)
    status, secret = binding.recover(port)
    assert status == 200
    assert secret != binding.secret
    tang.tamper(None)
    assert binding.recover(port) == (200, binding.secret)


def test_it_answers_its_own_network_alone(tang: Tang, port: int) -> None:
    binding = Binding.make(port)
    tang.answers_only("home")
    assert binding.recover(port) == (200, binding.secret)
    tang.proxy.move(TESTER, "elsewhere")
    with pytest.raises(TimeoutError):
        binding.recover(port, timeout=1.0)
    tang.answers_only("home", refusing=True)
    with pytest.raises(ConnectionRefusedError):
        binding.recover(port)
    tang.answers_only()
    assert binding.recover(port) == (200, binding.secret)


def test_keys_can_be_given_and_so_a_server_comes_back(tmp_path: Path) -> None:
    made = make_keys(Progress())
    save(made, tmp_path / "keys")
    keys = TangKeys.load(tmp_path / "keys")
    assert keys == made
    with serve_tang("tang", keys, PLACE, QUIET) as first, reachable(first) as port:
        assert first.keys == keys
        binding = Binding.make(port)
    with serve_tang("tang", keys, PLACE, QUIET) as second, reachable(second) as port:
        assert binding.recover(port) == (200, binding.secret)


def test_two_servers_run_side_by_side() -> None:
    with (
        serve_tang("one", None, PLACE, QUIET) as one,
        serve_tang("two", None, Endpoint(8081), QUIET) as two,
        reachable(one) as port,
        reachable(two) as other_port,
    ):
        binding = Binding.make(port)
        assert binding.recover(port) == (200, binding.secret)
        assert binding.recover(other_port) == (404, None)


def test_it_listens_on_loopback_alone(tang: Tang, docker: DockerClient) -> None:
    [container] = docker.containers.list(filters={"label": f"{OWNER_LABEL}={os.getpid()}"})
    assert container.attrs["Config"]["StdinOnce"] is True
    assert container.attrs["HostConfig"]["AutoRemove"] is True
    bindings = [each for port in container.ports.values() for each in port or ()]
    assert bindings
    assert {each["HostIp"] for each in bindings} == {"127.0.0.1"}
    with pytest.raises(RigError, match="is stopped"):
        tang.stop()
        _ = tang.server.address


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_owner_leaves_no_container(how: signal.Signals) -> None:
    program = (
        "import sys; from harness.services.tang import serve_tang; from harness.progress import Progress\n"
        "with serve_tang('tang', None, None, Progress()) as tang:\n"
        "    print(tang.server.address[1], flush=True); sys.stdin.read()"
    )
    command = ["env", "--default-signal=INT", sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        port = int(owner.stdout.readline())
        assert ask(port, "GET", "/adv")[0] == 200
        assert containers_of(owner.pid)
        owner.send_signal(how)
        owner.wait(PATIENCE)
        wait_for(lambda: not containers_of(owner.pid), "the end of the container")


def test_a_container_that_dies_by_itself_is_an_error_of_the_rig(tang: Tang, docker: DockerClient) -> None:
    [container] = docker.containers.list(filters={"label": f"{OWNER_LABEL}={os.getpid()}"})
    assert tang.failure() is None
    container.kill()
    wait_for(lambda: not containers_of(os.getpid()), "the end of the container")
    with pytest.raises(RigError, match="tang has ended by itself"):
        tang.rotate_keys()
    with pytest.raises(RigError, match="tang has ended by itself"):
        _ = tang.keys
    with pytest.raises(RigError, match="tang has ended by itself"):
        tang.testimony(TESTER)
    tang.stop()
    assert "tang has ended by itself" in (tang.failure() or "")


def test_a_recovery_that_is_refused_is_in_the_log_as_soon_as_it_is_asked_for(tang: Tang, port: int) -> None:
    binding = Binding.make(port)
    tang.replace_keys()
    assert binding.recover(port) == (404, None)
    assert [request.status for request in tang.requests if request.method == "POST"] == [404]


def test_a_server_that_ends_at_once_is_an_error_with_its_words(docker: DockerClient, image: ServiceImage) -> None:
    broken = ServiceImage(
        image.reference, image.id, ("/bin/sh", "-c", "echo I cannot; exit 3"), 8080, image.state_folder
    )
    with pytest.raises(RigError, match=r"tang (has ended by itself|ended instead of answering)") as caught:
        TangServer(docker, broken, "tang").__enter__()
    assert "I cannot" in caught.value.detail
    assert not containers_of(os.getpid())


def test_a_server_that_does_not_answer_has_a_deadline(
    docker: DockerClient, image: ServiceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TangServer, "ready_seconds", 5.0)
    elsewhere = ("/usr/libexec/tangd", "-l", "-p", "9999", image.state_folder)
    deaf = ServiceImage(image.reference, image.id, elsewhere, 8080, image.state_folder)
    with pytest.raises(RigError, match=r"tang did not answer GET /adv within 5 s") as caught:
        TangServer(docker, deaf, "tang").__enter__()
    assert "Listening on 0.0.0.0:9999" in caught.value.detail
    assert not containers_of(os.getpid())


def test_a_removal_that_fails_hides_nothing_that_happened_before(
    docker: DockerClient, image: ServiceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.services.container._REMOVE_SECONDS", 0.0)
    monkeypatch.setattr(OwnedContainer, "_known", lambda self, container: True)
    with pytest.raises(ValueError, match="before"), OwnedContainer(docker, image, "tang"):
        raise ValueError("before")
    with pytest.raises(RigError, match="was not removed within 0 s"), OwnedContainer(docker, image, "tang"):
        pass
    wait_for(lambda: not containers_of(os.getpid()), "the end of the containers")


def test_what_fails_between_create_and_start_is_undone(
    docker: DockerClient, image: ServiceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, container: object, streams: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(OwnedContainer, "_attach", fail)
    with pytest.raises(KeyboardInterrupt), OwnedContainer(docker, image, "tang"):
        pass
    assert not containers_of(os.getpid())


def test_the_image_records_what_is_in_it(image: ServiceImage) -> None:
    assert (image.port, image.state_folder) == (8080, "/var/lib/tang")
    versions = dict(line.split("\t") for line in image.packages)
    assert versions["tang-common"].startswith("15-")
    assert "jose" in versions


def test_a_changed_recipe_gives_another_image(
    docker: DockerClient, image: ServiceImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "tang"
    recipe.mkdir()
    for part in Path(tang_image.__globals__["RECIPE"]).iterdir():
        (recipe / part.name).write_bytes(part.read_bytes())
        (recipe / part.name).chmod(part.stat().st_mode)
    monkeypatch.setattr("harness.services.tang_image.RECIPE", recipe)
    assert tang_image(docker, QUIET) == image, "the same recipe elsewhere is the same image"
    with (recipe / "recipe.yaml").open("a") as file:
        file.write("# changed\n")
    # The tree is taken from the unchanged image: what counts is that it is asked for, and imported under a new name.
    asked: list[Path] = []

    def build(_read: object, _recipe: Path, folder: Path, _progress: Progress) -> None:
        asked.append(folder)
        present = cache.entry("tang-image", image.reference.rpartition(":")[2])
        (folder / "root.tar").write_bytes((present / "root.tar").read_bytes())
        (folder / "packages").write_text("changed\t1\n")

    monkeypatch.setattr("harness.services.service_image._build", build)
    monkeypatch.setattr("harness.services.tang_image.REPOSITORY", "unlock-lab/tang-test")
    changed = tang_image(docker, QUIET)
    try:
        assert asked
        assert changed.packages == ("changed\t1",)
        assert changed.reference.rpartition(":")[2] != image.reference.rpartition(":")[2]
        assert tang_image(docker, QUIET) == changed
        assert len(asked) == 1, "the second time it is there"
    finally:
        docker.images.remove(changed.reference)
        shutil.rmtree(cache.entry("tang-image", changed.reference.rpartition(":")[2]))


@pytest.fixture
def published(docker: DockerClient, image: ServiceImage) -> Iterator[str]:
    """An image as others publish them: keys in a volume, a command of its own, no label of ours."""
    key = image.reference.rpartition(":")[2]
    docker.api.import_image_from_file(
        str(cache.entry("tang-image", key) / "root.tar"),
        repository="unlock-lab/tang-published",
        tag="test",
        changes=["VOLUME /db", "EXPOSE 9090", 'CMD ["/usr/libexec/tangd", "-l", "-p", "9090", "/db"]'],
    )
    yield "unlock-lab/tang-published:test"
    docker.images.remove("unlock-lab/tang-published:test")


def test_a_published_image_can_be_named(published: str, docker: DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = {volume.id for volume in docker.volumes.list()}
    monkeypatch.setenv("UNLOCK_LAB_TANG_IMAGE", published)
    keys = make_keys(QUIET)
    with serve_tang("tang", keys, PLACE, QUIET) as tang, reachable(tang) as port:
        assert tang.keys == keys
        binding = Binding.make(port)
        tang.rotate_keys()
        assert binding.recover(port) == (200, binding.secret)
        tang.delete_old_keys()
        assert binding.recover(port) == (404, None)
    assert {volume.id for volume in docker.volumes.list()} <= volumes


@pytest.mark.usefixtures("published")
def test_a_published_image_must_offer_what_is_needed(docker: DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_TANG_IMAGE", "unlock-lab/tang-published:bare")
    docker.api.import_image_from_data(b"\0" * 10240, repository="unlock-lab/tang-published", tag="bare")
    try:
        with pytest.raises(UsageError, match="cannot be used as a server of tang") as caught:
            tang_image(docker, QUIET)
        assert "unlock-lab.keys" in caught.value.hint
    finally:
        docker.images.remove("unlock-lab/tang-published:bare")


def test_an_image_that_nobody_has_is_an_error_of_the_host(
    docker: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLOCK_LAB_TANG_IMAGE", "localhost:1/no/such:image")
    with pytest.raises((HostError, RigError), match=r"localhost:1/no/such"):
        tang_image(docker, QUIET)


def test_two_processes_each_have_a_server_at_the_same_place(tang: Tang, port: int) -> None:
    with serve_tang("tang", tang.keys, tang.endpoint, QUIET) as other, reachable(other) as other_port:
        binding = Binding.make(port)
        assert binding.recover(other_port) == (200, binding.secret)
        wait_for(lambda: other.recoveries, "the line in the log")
        assert not tang.recoveries


def test_each_machine_is_told_what_it_asked_itself(tang: Tang, port: int) -> None:
    """Two machines with one binding are on at once; Tang's log knows them by one address."""
    binding = Binding.make(port)
    other, third = Client("other", "lab-2"), Client("third", "lab-3")
    tang.answers_only("home")
    with reachable(tang, other) as other_port, reachable(tang, third, "elsewhere") as third_port:
        assert binding.recover(other_port) == (200, binding.secret)
        assert binding.recover(port) == (200, binding.secret)
        assert binding.recover(other_port) == (200, binding.secret)
        with pytest.raises(TimeoutError):
            binding.recover(third_port, timeout=0.5)
        wait_for(lambda: len(tang.recoveries) == 3, "the lines in the log")
        assert [request.method for request in tang.calls(TESTER).requests] == ["GET", "POST"]
        assert [request.method for request in tang.calls(other).requests] == ["POST", "POST"]
        assert tang.calls(third).requests == ()
        assert tang.calls(third).unanswered >= 1
        assert tang.calls(other).unanswered == 0
    assert tang.calls(third).unanswered == tang.unanswered, "it is off now, and what it tried is not forgotten"


def test_a_program_of_this_host_can_call_it_as_a_machine_would(tang: Tang) -> None:
    with tang.connect(TESTER) as connection:
        connection.sendall(b"GET /adv HTTP/1.1\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
    tang.answers_only("home", refusing=True)
    with pytest.raises(ConnectionRefusedError, match="elsewhere"):
        tang.connect(TESTER, "elsewhere")
