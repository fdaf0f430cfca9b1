"""Where accounts, certificates, answers to challenges and locks are kept.

`contract` says what a storage does; `folder` keeps everything in a folder of the user, `remote` in
Redis, for replicas on several machines. What is kept under which key is in `records`.
"""

from nogilserve.tls.storage.contract import Lease, Storage
from nogilserve.tls.storage.folder import FolderStorage
from nogilserve.tls.storage.places import data_folder, open_storage, storage_folder

__all__ = ["FolderStorage", "Lease", "Storage", "data_folder", "open_storage", "storage_folder"]
