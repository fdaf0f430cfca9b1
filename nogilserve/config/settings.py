"""The settings in force: values without their declarations, help and checks.

Those are needed to read a configuration. Who serves by one is told the values, and a process
that never imports `options` is some megabytes smaller.
"""

from collections.abc import Mapping
from copy import replace
from typing import TYPE_CHECKING, Any, Final, Self

from nogilserve.config.addresses import Bind, parse_bind, redirect_bind

if TYPE_CHECKING:
    from nogilserve.config.options import Declared
else:
    Declared = object

__all__ = ["Config"]

_STAGING: Final = "https://acme-staging-v02.api.letsencrypt.org/directory"


class Config(Declared):
    """Every setting in force, checked. Immutable: share it freely.

    `load` makes it. Durations are seconds, sizes are bytes. `copy.replace` makes another one.
    """

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From the value of each and every setting."""
        made = cls.__new__(cls)
        made.__dict__.update(values)
        return made

    def __replace__(self, /, **changes: Any) -> Self:
        if unknown := changes.keys() - self.__dict__.keys():
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        return self.of(self.__dict__ | changes)

    if not TYPE_CHECKING:  # there it has the fields of the declaration

        def __init__(self, **values: Any) -> None:
            """What is not named has its default."""
            from nogilserve.config.options import Declared

            self.__dict__.update(vars(Declared(**values)))

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"a Config is not changed: {name}")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"a Config is not changed: {name}")

        def __eq__(self, other: object) -> bool:
            return self.__dict__ == other.__dict__ if isinstance(other, Config) else NotImplemented

        def __hash__(self) -> int:
            return hash(tuple(self.__dict__.values()))

        def __repr__(self) -> str:
            return f"Config({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @property
    def own_certificates(self) -> bool:
        """Whether certificates are given, or made here."""
        return bool(self.certfiles) or self.tls_internal

    @property
    def on_demand(self) -> bool:
        """Whether certificates are obtained for names that only clients name."""
        return bool(self.on_demand_allow or self.on_demand_ask or self.on_demand_dir)

    @property
    def automatic_https(self) -> bool:
        """Whether certificates are obtained at all."""
        return bool(self.domains) or self.on_demand

    @property
    def acme_url(self) -> str:
        """The directory URL in force."""
        return _STAGING if self.acme_staging else self.acme_directory

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.own_certificates or self.automatic_https

    @property
    def observed(self) -> bool:
        """Whether requests are counted one by one."""
        return bool(self.admin or self.statsd or self.slow)

    @property
    def all_binds(self) -> tuple[Bind, ...]:
        """Every address to listen on, `binds` and those beside TLS."""
        found = list(self.binds)
        for text in self.insecure:
            found.append(replace(parse_bind(text), role="plain"))
        if self.redirect_http:
            found.append(redirect_bind(self.redirect_http, self.binds[0]))
        return tuple(found)
