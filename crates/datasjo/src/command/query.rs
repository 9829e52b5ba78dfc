use std::fs::File;
use std::io::{BufWriter, Read, Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use datasjo_serve::format::{Encoder, Format};
use datasjo_serve::query::{Limits, Queries};

use crate::args::Query;
use crate::instance::open_lake;

/// Runs one query and writes its answer.
pub(crate) async fn run(dir: &Path, args: Query) -> anyhow::Result<bool> {
    let sql = if args.sql == "-" { read_stdin()? } else { args.sql.clone() };
    match &args.url {
        Some(url) => ask(url, &sql, &args).await?,
        None => read_lake(dir, &sql, &args).await?,
    }
    Ok(true)
}

/// Opened when there is something to write, so that a wrong query leaves an old file as it was.
fn output(args: &Query) -> anyhow::Result<Box<dyn Write + Send>> {
    Ok(match &args.output {
        Some(path) => Box::new(BufWriter::new(File::create(path).with_context(|| format!("create {}", path.display()))?)),
        None => Box::new(BufWriter::new(stdout())),
    })
}

fn read_stdin() -> anyhow::Result<String> {
    let mut sql = String::new();
    stdin().read_to_string(&mut sql)?;
    Ok(sql)
}

async fn read_lake(dir: &Path, sql: &str, args: &Query) -> anyhow::Result<()> {
    let config = super::load(dir)?;
    let lake = Arc::new(open_lake(&config).await?);
    let mut answer = Queries::new(lake, Limits::default()).start(sql).await?;
    let mut out = output(args)?;
    let mut encoder = Encoder::new(args.format.into(), &answer.schema(), &mut out)?;
    while let Some(batch) = answer.next().await? {
        encoder.write(&batch)?;
    }
    encoder.finish()?;
    Ok(out.flush()?)
}

/// Asks a running instance; a token is taken from `DATASJO_TOKEN`.
async fn ask(url: &url::Url, sql: &str, args: &Query) -> anyhow::Result<()> {
    let format: Format = args.format.into();
    let endpoint = url.join("/v1/sql")?;
    let mut request = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(endpoint.clone())
        .query(&[("format", format.name())])
        .body(sql.to_owned());
    if let Ok(token) = std::env::var("DATASJO_TOKEN") {
        request = request.bearer_auth(token);
    }
    let mut response = request.send().await.with_context(|| format!("ask {endpoint}"))?;
    if !response.status().is_success() {
        let text = response.text().await.unwrap_or_default();
        let detail =
            serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|p| Some(p.get("detail")?.as_str()?.to_owned()));
        bail!("{}", detail.unwrap_or(text));
    }
    let mut out = output(args)?;
    while let Some(bytes) = response.chunk().await.context("the answer broke off")? {
        out.write_all(&bytes)?;
    }
    Ok(out.flush()?)
}
