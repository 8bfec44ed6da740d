"""An output of several files a partition: a table of ids, and a GeoJSON file for each item."""

from __future__ import annotations

from stac_manager.items import dumps, safe_name
from stac_manager.output import Output, OutputFile, OutputResult, PartitionJob


class Footprints(Output):
    """Writes `<partition>.csv`, and a GeoJSON feature without properties for each item."""

    name = "footprints"

    def write(self, job: PartitionJob) -> OutputResult:
        """The files of a partition; the file of a deleted item is not listed any more, so it is removed."""
        folder = f"published/{safe_name(job.collection_id)}/footprints/{job.partition}"
        table = job.folder / "ids.csv"
        files = []
        with table.open("w", encoding="utf-8") as rows:
            for number, item in enumerate(job.items()):
                path = job.folder / f"{number}.geojson"
                path.write_bytes(dumps({"type": "Feature", "geometry": item.get("geometry"), "properties": {}}))
                key = f"{folder}/{safe_name(item['id'])}.geojson"
                files.append(OutputFile(key, path, 1, "application/geo+json"))
                rows.write(f"{item['id']}\n")
        if files:
            title = f"Ids of {job.partition}"
            files.append(OutputFile(f"{folder}.csv", table, len(files), "text/csv", title=title))
        return OutputResult(files, details={"deleted": list(job.deleted)})


FOOTPRINTS = Footprints()
