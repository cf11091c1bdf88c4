"""Addresses of tracking stores, and the user and password that may stand in them.

An address is printed, named in errors and kept beside runs; a login must not be. So an address is used
without it, and MLflow gets it where it looks for one by itself: in its environment variables.
"""

import os
import re
from urllib.parse import unquote

SQLITE = "sqlite:///"
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
# All up to the last @: a password with a slash in it, which should have been quoted, is one too.
_LOGIN = re.compile(r"^([A-Za-z][\w+.-]*:/+)?(.*)@")


def is_server(uri: str) -> bool:
    """Whether an address is that of an MLflow server.

    Examples
    --------
    >>> is_server("https://mlflow"), is_server("sqlite:///mlflow.db")
    (True, False)
    """
    return uri.startswith(("http://", "https://"))


def without_login(uri: str) -> str:
    """Return an address without user and password.

    Examples
    --------
    >>> without_login("https://ada:secret@mlflow:5000"), without_login("sqlite:///runs/by@ada.db")
    ('https://mlflow:5000', 'sqlite:///runs/by@ada.db')
    """
    if uri.startswith(SQLITE):  # a path, which may hold anything
        return uri
    return _LOGIN.sub(r"\1", uri)


def to_show(uri: str) -> str:
    """Return an address as it may be printed and kept: options of a server's can be secrets as well.

    Examples
    --------
    >>> to_show("postgresql://db/mlflow?user=ada&password=secret")
    'postgresql://db/mlflow'
    """
    bare = without_login(uri)
    return bare if bare.startswith(SQLITE) else bare.partition("?")[0]


def login_apart(uri: str) -> str:
    """Return an address without its login; that of a server goes to MLflow's environment variables.

    Examples
    --------
    >>> login_apart("http://mlflow:5000")
    'http://mlflow:5000'
    """
    found = _LOGIN.match(uri)
    if found is not None and is_server(uri):
        user, _, password = found.group(2).partition(":")
        os.environ.update({USER: unquote(user), PASSWORD: unquote(password)})
    return without_login(uri)
