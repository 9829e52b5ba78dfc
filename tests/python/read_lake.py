"""Reads one table of a lake with the three readers people use, and prints what each of them sees as one JSON object.

    read_lake.py TABLE_DIRECTORY KEY_COLUMN[,KEY_COLUMN...] DAY COLUMN LIMIT

For each reader: the types of the columns in Arrow's words, the rows at rest (older revisions included), how many of those
have COLUMN > LIMIT on DAY, asked so that the reader may leave out files, and the newest revision of each key, sorted by key.
Beside them, `by_hand`: how many that are when every row is looked at.

deltalake and Polars read the Delta log themselves. DuckDB's extension for it is fetched from the network when it is first
used, which a test must not need, so DuckDB reads the Parquet files that deltalake says are live.
"""

import datetime
import json
import sys

import deltalake
import duckdb
import polars
import pyarrow.compute as pc
from pyarrow import fs

TIME = 'Timestamp(µs, "UTC")'
ARROW_TYPES = {
    "string": "Utf8",
    "double": "Float64",
    "int64": "Int64",
    "int32": "Int32",
    "bool": "Boolean",
    "date32[day]": "Date32",
    "timestamp[us, tz=UTC]": TIME,
}
POLARS_TYPES = {
    "String": "Utf8",
    "Float64": "Float64",
    "Int64": "Int64",
    "Int32": "Int32",
    "Boolean": "Boolean",
    "Date": "Date32",
    "Datetime(time_unit='us', time_zone='UTC')": TIME,
}
DUCKDB_TYPES = {
    "VARCHAR": "Utf8",
    "DOUBLE": "Float64",
    "BIGINT": "Int64",
    "INTEGER": "Int32",
    "BOOLEAN": "Boolean",
    "DATE": "Date32",
    "TIMESTAMP WITH TIME ZONE": TIME,
}


def live_dataset(directory):
    """deltalake reads the log, pyarrow the files. With pyarrow's own file system: the one that deltalake hands it calls back
    into Python from threads, and often aborts the process when it ends."""
    files = fs.SubTreeFileSystem(directory, fs.LocalFileSystem())
    return deltalake.DeltaTable(directory).to_pyarrow_dataset(filesystem=files)


def with_deltalake(directory, key, day, column, limit):
    table = live_dataset(directory)
    data = table.to_table()
    on_day = (pc.field("day") == day) & (pc.field(column) > limit)
    newest = {}
    for row in data.sort_by([("revision", "ascending")]).to_pylist():
        newest[tuple(row[k] for k in key)] = row
    return seen(
        types={field.name: ARROW_TYPES.get(str(field.type), str(field.type)) for field in data.schema},
        at_rest=data.num_rows,
        filtered=table.to_table(filter=on_day).num_rows,
        newest=list(newest.values()),
        key=key,
    )


def with_polars(directory, key, day, column, limit):
    table = polars.scan_delta(directory)
    on_day = (polars.col("day") == day) & (polars.col(column) > limit)
    newest = table.sort("revision").unique(subset=key, keep="last", maintain_order=True)
    return seen(
        types={name: POLARS_TYPES.get(str(kind), str(kind)) for name, kind in table.collect_schema().items()},
        at_rest=table.select(polars.len()).collect().item(),
        filtered=table.filter(on_day).select(polars.len()).collect().item(),
        newest=newest.collect().to_dicts(),
        key=key,
    )


def with_duckdb(directory, key, day, column, limit):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    files = deltalake.DeltaTable(directory).file_uris()
    connection.execute("CREATE VIEW live AS SELECT * FROM " + parquet_files(files))
    newest = connection.sql(
        f"SELECT * FROM live QUALIFY row_number() OVER (PARTITION BY {', '.join(key)} ORDER BY revision DESC) = 1"
    )
    return seen(
        types={name: DUCKDB_TYPES.get(str(kind), str(kind)) for name, kind in zip(newest.columns, newest.types)},
        at_rest=connection.sql("SELECT count(*) FROM live").fetchall()[0][0],
        filtered=connection.execute(
            f"SELECT count(*) FROM live WHERE day = $1 AND {column} > $2", [day, limit]
        ).fetchall()[0][0],
        newest=newest.to_arrow_table().to_pylist(),
        key=key,
    )


def parquet_files(files):
    """The day is in the names of the folders, not in the files."""
    names = ", ".join("'" + file.removeprefix("file://").replace("'", "''") + "'" for file in files)
    return f"read_parquet([{names}], hive_partitioning = true, hive_types = {{'day': DATE}})"


def count_by_hand(directory, day, column, limit):
    rows = live_dataset(directory).to_table().to_pylist()
    return sum(row["day"] == day and row[column] is not None and row[column] > limit for row in rows)


def seen(types, at_rest, filtered, newest, key):
    rows = [{name: plain(value) for name, value in row.items()} for row in newest]
    rows.sort(key=lambda row: [row[k] for k in key])
    return {"types": types, "at_rest": at_rest, "filtered": filtered, "newest": rows}


def plain(value):
    """As `datasjo query --format json` writes it: times in UTC, with no more digits than they need."""
    if isinstance(value, datetime.datetime):
        utc = value.astimezone(datetime.timezone.utc)
        digits = "seconds" if utc.microsecond == 0 else "milliseconds" if utc.microsecond % 1000 == 0 else "microseconds"
        return utc.isoformat(timespec=digits).replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def main():
    directory, key, day, column, limit = sys.argv[1:]
    condition = (datetime.date.fromisoformat(day), column, float(limit))
    readers = {"deltalake": with_deltalake, "polars": with_polars, "duckdb": with_duckdb}
    told = {name: read(directory, key.split(","), *condition) for name, read in readers.items()}
    told["by_hand"] = count_by_hand(directory, *condition)
    print(json.dumps(told, allow_nan=False))


if __name__ == "__main__":
    main()
