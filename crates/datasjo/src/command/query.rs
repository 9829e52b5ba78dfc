use std::fs::File;
use std::io::{self, BufWriter, Read, Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use datasjo_serve::format::{Encoder, Format};
use datasjo_serve::query::{Answer, Limits, Queries};

use crate::args::Query;
use crate::instance::open_lake_to_read;

/// Runs one query and writes its answer.
pub(crate) async fn run(dir: &Path, args: Query) -> anyhow::Result<bool> {
    let sql = if args.sql == "-" { read_stdin()? } else { args.sql.clone() };
    match &args.url {
        Some(url) => ask(url, &sql, &args).await?,
        None => read_lake(dir, &sql, &args).await?,
    }
    Ok(true)
}

/// Where the answer goes. Whoever reads only its beginning (`| head`) has what they wanted: that is no failure.
struct Out {
    to: Box<dyn Write + Send>,
    reader_left: bool,
}

impl Out {
    /// Opened when there is something to write, so that a wrong query leaves an old file as it was.
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let to: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(BufWriter::new(File::create(path).with_context(|| format!("create {}", path.display()))?)),
            None => Box::new(BufWriter::new(stdout())),
        };
        Ok(Self { to, reader_left: false })
    }

    fn look<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        self.reader_left |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    /// What became of the answer.
    fn end(mut self, written: anyhow::Result<()>) -> anyhow::Result<()> {
        let flushed = written.and_then(|()| Ok(self.flush()?));
        if self.reader_left { Ok(()) } else { flushed }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        self.look(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.look(flushed)
    }
}

fn read_stdin() -> anyhow::Result<String> {
    let mut sql = String::new();
    stdin().read_to_string(&mut sql)?;
    Ok(sql)
}

async fn read_lake(dir: &Path, sql: &str, args: &Query) -> anyhow::Result<()> {
    let config = super::load(dir)?;
    let queries = Queries::new(Arc::new(open_lake_to_read(&config).await?), Limits::default())?;
    let answer = queries.start(sql).await?;
    let mut out = Out::open(args.output.as_deref())?;
    let format: Format = args.format.into();
    let (written, out) = queries
        .spawn(async move {
            let written = write(answer, format, &mut out).await;
            (written, out)
        })
        .await?;
    out.end(written)
}

async fn write(mut answer: Answer, format: Format, out: &mut Out) -> anyhow::Result<()> {
    let mut encoder = Encoder::new(format, &answer.schema(), out)?;
    while !encoder.is_full()
        && let Some(batch) = answer.next().await?
    {
        encoder.write(&batch)?;
    }
    Ok(encoder.finish()?)
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
    let mut out = Out::open(args.output.as_deref())?;
    let written = copy(&mut response, &mut out).await;
    out.end(written)
}

async fn copy(response: &mut reqwest::Response, out: &mut Out) -> anyhow::Result<()> {
    while let Some(bytes) = response.chunk().await.context("the answer broke off")? {
        out.write_all(&bytes)?;
    }
    Ok(())
}
