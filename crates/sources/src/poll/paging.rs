use serde_json::Value;
use url::Url;

use super::address::{is_same_host, set_query};
use super::config::{Paging, PollConfig};
use super::fetch::Page;
use super::template::{Window, fill_cursor};

/// One request: what is asked, without any secret.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) url: Url,
    pub(super) body: Option<String>,
    cursor: Option<String>,
    number: u64,
}

/// What follows a page.
pub(super) enum Next {
    /// Another page.
    Page(Asked),
    /// Nothing; the newest cursor, if the service gave one.
    Last { cursor: Option<String> },
    /// The page cannot be followed.
    Broken(String),
}

/// The first request of a round. `cursor` is where a log was read to.
///
/// # Errors
/// A sentence when the filled address is none.
pub(super) fn first(config: &PollConfig, window: &Window, cursor: Option<&str>) -> Result<Asked, String> {
    let url = Url::parse(&window.fill(&config.url)).map_err(|_| "url: not a full address".to_owned())?;
    let body = config.body.as_ref().map(|body| window.fill(body));
    let asked = Asked { url, body, cursor: None, number: 0 };
    Ok(match &config.paging {
        Paging::Cursor { .. } => with_cursor(config, window, asked, cursor),
        Paging::PageNumber { param, first, .. } => with_number(asked, param, *first),
        Paging::None | Paging::NextLink { .. } | Paging::LinkHeader => asked,
    })
}

/// What follows `page`, which answered `asked`.
pub(super) fn next(config: &PollConfig, window: &Window, asked: &Asked, page: &Page) -> Next {
    match &config.paging {
        Paging::None => Next::Last { cursor: None },
        Paging::LinkHeader => follow(asked, page.next_link.as_deref()),
        Paging::NextLink { pointer } => within(page, |json| follow(asked, json.pointer(pointer).and_then(Value::as_str))),
        Paging::PageNumber { param, until_empty, .. } => within(page, |json| match is_empty(json.pointer(until_empty)) {
            true => Next::Last { cursor: None },
            false => Next::Page(with_number(asked.clone(), param, asked.number + 1)),
        }),
        Paging::Cursor { pointer, has_more, .. } => {
            within(page, |json| after_cursor(config, window, asked, cursor_of(json, pointer), more(json, has_more.as_deref())))
        }
    }
}

/// What `find` finds in the page read as JSON.
fn within(page: &Page, find: impl FnOnce(&Value) -> Next) -> Next {
    match serde_json::from_slice(&page.body) {
        Ok(json) => find(&json),
        Err(error) => Next::Broken(format!("the page is not JSON, so what follows it is not known: {error}")),
    }
}

fn follow(asked: &Asked, link: Option<&str>) -> Next {
    let Some(link) = link.filter(|link| !link.is_empty()) else {
        return Next::Last { cursor: None };
    };
    let Ok(url) = asked.url.join(link) else {
        return Next::Broken("the address of the next page is none".to_owned());
    };
    if !is_same_host(&asked.url, &url) {
        return Next::Broken("the next page is said to be on another host; it is not asked".to_owned());
    }
    if url == asked.url {
        return Next::Broken("the next page is said to be the page itself".to_owned());
    }
    Next::Page(Asked { url, ..asked.clone() })
}

fn after_cursor(config: &PollConfig, window: &Window, asked: &Asked, cursor: Option<String>, more: Option<bool>) -> Next {
    let moved = cursor.is_some() && cursor != asked.cursor;
    match more {
        Some(false) => Next::Last { cursor },
        Some(true) if !moved => Next::Broken("there is more, but the cursor does not move".to_owned()),
        None if !moved => Next::Last { cursor },
        Some(true) | None => Next::Page(with_cursor(config, window, asked.clone(), cursor.as_deref())),
    }
}

fn with_cursor(config: &PollConfig, window: &Window, mut asked: Asked, cursor: Option<&str>) -> Asked {
    if let (Paging::Cursor { variable: Some(name), .. }, Some(cursor)) = (&config.paging, cursor) {
        set_query(&mut asked.url, name, cursor);
    }
    asked.body = config.body.as_ref().map(|body| fill_cursor(&window.fill(body), cursor));
    asked.cursor = cursor.map(str::to_owned);
    asked
}

fn with_number(mut asked: Asked, param: &str, number: u64) -> Asked {
    set_query(&mut asked.url, param, &number.to_string());
    asked.number = number;
    asked
}

/// A cursor is a text or a number; an empty text is none.
fn cursor_of(page: &Value, pointer: &str) -> Option<String> {
    match page.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether there is more; none when no pointer says where it stands. Absent or null means no.
fn more(page: &Value, pointer: Option<&str>) -> Option<bool> {
    pointer.map(|pointer| page.pointer(pointer).and_then(Value::as_bool).unwrap_or(false))
}

fn is_empty(list: Option<&Value>) -> bool {
    match list {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(items)) => items.is_empty(),
        Some(Value::Null) | None => true,
        Some(_) => false,
    }
}
