"""The faults a request can meet, one class per fault.

Every class carries the HTTP status it is answered with; ``server/encode.py``
turns an instance into the PaddleX envelope. A fault raised in a device
process crosses to the worker by class name and message (``server/wire.py``).
"""

from __future__ import annotations

from typing import ClassVar


class ServeError(Exception):
    """A fault with an HTTP status and a message that is safe to show a client.

    The message never holds a path, a traceback or text of the document.
    """

    status: ClassVar[int] = 500
    default: ClassVar[str] = "Internal server error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default)

    @property
    def message(self) -> str:
        """What the client is told."""
        return str(self.args[0])


class BadRequest(ServeError):
    """The body, a parameter or the file in it is wrong."""

    status = 422
    default = "Invalid input"


class Unauthorized(ServeError):
    """No API key, or none that is known. Nothing of the body has been read."""

    status = 401
    default = "An API key is needed: Authorization: Bearer KEY"


class RequestTimeout(ServeError):
    """The client took too long to send its request."""

    status = 408
    default = "The request was not received in time"


class TooLarge(ServeError):
    """The body is larger than the server reads."""

    status = 413
    default = "Request body too large"


class Poisoned(ServeError):
    """The input has brought down a process twice and is refused for a while."""

    status = 422
    default = "This input crashed the inference process and is refused"


class Overloaded(ServeError):
    """Refused at the door; nothing was done. Answered with Retry-After."""

    status = 503
    default = "The server is at capacity; try again later"

    def __init__(self, message: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(ServeError):
    """An API key asks for more than it may; nothing was done. Answered with Retry-After."""

    status = 429
    default = "Too many requests"

    def __init__(self, message: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(ServeError):
    """No device can run this now: starting, draining, or failed for good."""

    status = 503
    default = "No inference process is available"


class DeadlinePassed(ServeError):
    """The request's deadline passed before its result was ready."""

    status = 504
    default = "The deadline of the request passed"


class PipelineError(ServeError):
    """The request asks for what this pipeline's configuration cannot do.

    PaddleX answers these with 500 and the text of the pipeline's own message
    (API reference, section 2.3).
    """

    status = 500


class Upstream(ServeError):
    """A service that this server asks for text or embeddings failed or answered nonsense."""

    status = 502
    default = "The language model failed"


class UpstreamTimeout(Upstream):
    """A service that this server asks took too long."""

    status = 504
    default = "The language model took too long"


class NotConfigured(ServeError):
    """The operation needs something that nobody has set up; the message names the setting."""

    status = 503


class EngineError(ServeError):
    """An inference engine failed on this input. Foreign exceptions become this."""

    status = 500
    default = "Inference failed"


class ConfigError(Exception):
    """A wrong option, name, file or YAML key: one line for the operator, exit code 2."""

    def __str__(self) -> str:
        """The message; what it repeats of a file may hold line ends."""
        return " ".join(super().__str__().splitlines())


#: Every class that may cross from a device to a worker, by name.
BY_NAME: dict[str, type[ServeError]] = {
    cls.__name__: cls
    for cls in (
        ServeError,
        BadRequest,
        RequestTimeout,
        TooLarge,
        Poisoned,
        Overloaded,
        NotReady,
        DeadlinePassed,
        PipelineError,
        EngineError,
    )
}
