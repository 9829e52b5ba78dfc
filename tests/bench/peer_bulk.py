"""The peer: what one would write in DuckDB for a file that must end up unique, sorted and by day."""

import sys

import duckdb

csv, out = sys.argv[1], sys.argv[2]
duckdb.execute("SET TimeZone = 'UTC'")
duckdb.execute("SET enable_progress_bar = false")
duckdb.execute(f"""
    COPY (
        SELECT meter AS meter_id, time AS observed_at, any_value(value) AS flow_l_per_s, time::DATE AS day
        FROM read_csv('{csv}', columns = {{'time': 'TIMESTAMPTZ', 'meter': 'VARCHAR', 'value': 'DOUBLE'}})
        GROUP BY meter, time ORDER BY day, meter_id, observed_at
    ) TO '{out}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day), OVERWRITE)
""")
