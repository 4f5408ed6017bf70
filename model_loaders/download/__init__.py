"""Published files from the hub: the only place that opens a network connection, and only when a user asks for one."""

from .hub import DownloadError as DownloadError
from .items import Item as Item
from .items import asked as asked
from .items import fetch as fetch
from .items import listed as listed
