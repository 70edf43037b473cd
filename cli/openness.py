"""The refusal to listen on a network without knowing anybody."""

from __future__ import annotations

import ipaddress

from tidemill.api_keys import KeyFile
from tidemill.errors import SettingsError
from tidemill.settings import Settings


def refuse_open(settings: Settings, project: str, *hosts: str) -> None:
    """Refuse to listen on these addresses where there is neither a key nor an issuer.

    Raises SettingsError.
    """
    known = settings.oidc_issuer is not None or KeyFile(settings.home, project).read() is not None
    for host in hosts:
        if not (settings.open or known or _is_loopback(host)):
            raise SettingsError(
                f"the api's address: found {host}, without any key or issuer; allowed: a loopback "
                "address, any after `tidemill keys create` or with TIDEMILL_OIDC_ISSUER, or "
                "TIDEMILL_OPEN=true where something else decides who gets there"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: who knows what it stands for
