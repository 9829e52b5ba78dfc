use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderMap, HeaderName, LINK, RETRY_AFTER};
use jiff::Timestamp;

/// Longest wait a service may ask for. A day: longer is more likely a mistake than a wish.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// How long the answer stays fresh (RFC 9111, 4.2): `max-age` less `Age`, else `Expires` less `Date`. Zero when the service
/// does not say, or says `no-cache` or `no-store`.
pub(super) fn fresh_for(headers: &HeaderMap, now: Timestamp) -> Duration {
    let control = text(headers, CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    let directives: Vec<&str> = control.split(',').map(str::trim).collect();
    if directives.contains(&"no-cache") || directives.contains(&"no-store") {
        return Duration::ZERO;
    }
    let max_age = directives.iter().find_map(|d| d.strip_prefix("max-age=")).and_then(|s| s.trim_matches('"').parse().ok());
    if let Some(max_age_s) = max_age {
        let age_s: u64 = text(headers, AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
        return Duration::from_secs(u64::saturating_sub(max_age_s, age_s)).min(LONGEST_WAIT);
    }
    let date = text(headers, DATE).and_then(http_date).unwrap_or(now);
    text(headers, EXPIRES).and_then(http_date).map_or(Duration::ZERO, |expires| between(date, expires)).min(LONGEST_WAIT)
}

/// What `Retry-After` asks for: seconds or an HTTP date (RFC 9110, 10.2.3), a day at most.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?.trim();
    let wait = match value.parse() {
        Ok(wait_s) => Duration::from_secs(wait_s),
        Err(_) => between(now, http_date(value)?),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The address in `Link: <address>; rel="next"` (RFC 8288).
pub(super) fn next_link(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(LINK).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(links).find(|(_, parameters)| is_next(parameters)).map(|(address, _)| address.to_owned())
}

/// Text of a header line; none when it is absent or not ASCII.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// From `earlier` to `later`; zero when they are the other way round.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    let ms = later.as_millisecond().saturating_sub(earlier.as_millisecond());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// An HTTP date is an e-mail date with `GMT` as its zone (RFC 9110, 5.6.7).
fn http_date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(value.trim()).ok().map(|date| date.timestamp())
}

/// Address and parameters of each link of one line. Addresses may hold commas, so the brackets lead.
fn links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('<').skip(1).filter_map(|link| link.split_once('>'))
}

fn is_next(parameters: &str) -> bool {
    let rel = parameters.split([';', ',']).find_map(|p| p.trim().strip_prefix("rel="));
    rel.is_some_and(|kinds| kinds.trim_matches('"').split_whitespace().any(|kind| kind.eq_ignore_ascii_case("next")))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn now() -> Timestamp {
        "2026-08-01T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn freshness_comes_from_max_age_then_from_expires() {
        let both = headers(&[(CACHE_CONTROL, "public, max-age=120"), (AGE, "20"), (EXPIRES, "Sat, 01 Aug 2026 11:00:00 GMT")]);
        assert_eq!(fresh_for(&both, now()), Duration::from_secs(100));
        let expires = headers(&[(EXPIRES, "Sat, 01 Aug 2026 10:30:00 GMT"), (DATE, "Sat, 01 Aug 2026 10:20:00 GMT")]);
        assert_eq!(fresh_for(&expires, now()), Duration::from_secs(600));
        let never = headers(&[(CACHE_CONTROL, "no-cache, max-age=120")]);
        assert_eq!(fresh_for(&never, now()), Duration::ZERO);
        assert_eq!(fresh_for(&headers(&[(EXPIRES, "0")]), now()), Duration::ZERO);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_a_day_at_most() {
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "7")]), now()), Some(Duration::from_secs(7)));
        let date = headers(&[(RETRY_AFTER, "Sat, 01 Aug 2026 10:00:09 GMT")]);
        assert_eq!(retry_after(&date, now()), Some(Duration::from_secs(9)));
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "99999999")]), now()), Some(LONGEST_WAIT));
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "soon")]), now()), None);
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        let line = r#"<https://data.example/?page=1,2>; rel="prev", <https://data.example/?page=3,4>; title="x"; rel="next""#;
        assert_eq!(next_link(&headers(&[(LINK, line)])).as_deref(), Some("https://data.example/?page=3,4"));
        assert_eq!(next_link(&headers(&[(LINK, "<https://data.example/>; rel=\"last\"")])), None);
    }
}
