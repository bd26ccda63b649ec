"""Where a pin's configuration stands in a policy file, so that each mistake is named with its place (pure)."""

from dataclasses import dataclass, replace

from harness.policy.document import Document, KeyPath


@dataclass(frozen=True)
class Place:
    """A place in a policy file.

    Attributes:
        document: The file.
        path: The keys that lead there.
        inside: Where in the JSON that stands there: ``pins.tang[0]``, or "" for all of it; None where none stands.
    """

    document: Document
    path: KeyPath
    inside: str | None = None

    def wrong(self, message: str, key: str = "") -> None:
        """Note a mistake at this place, or at a key of what stands here."""
        if self.inside is None:
            self.document.mistake((*self.path, key) if key else self.path, message)
        else:
            self.document.mistake(self.path, f"{self._at(key) or 'the JSON'}: {message}", inside=True)

    @property
    def depth(self) -> int:
        """How many pins it stands inside of."""
        return f".{self.inside}".count(".pins.")

    def at(self, key: str) -> "Place":
        """The place of a key of the JSON that stands here."""
        return replace(self, inside=self._at(key))

    def _at(self, key: str) -> str:
        return ".".join(filter(None, (self.inside, key)))
