"""What `mountd` has to know of shelves."""

from mountd.errors import UserError
from mountd.stores.flavor import Flavor, Option


class ShelfFlavor(Flavor):
    """Stores like shelf://team/runs, all of them in one SQLite file."""

    name = "shelf"
    description = "artifacts of a small team in one SQLite file"
    schemes = ("shelf",)
    known = (
        Option("file", "the SQLite file, which is made where it is missing"),
        Option("patience", "seconds to wait for others who write (default: 20)", type="int"),
    )

    def filesystem(self, root, options, **more):
        """Return the file system; `options` are parsed, and references in them resolved."""
        from shelf.filesystem import ShelfFileSystem

        if "file" not in options:
            raise UserError("a shelf needs its file: --option file=/srv/shelf.db")
        return ShelfFileSystem(**options, skip_instance_cache=True)
