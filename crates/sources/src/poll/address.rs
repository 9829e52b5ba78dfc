use url::{Url, form_urlencoded};

use crate::Secret;

/// Sets a query parameter and leaves the rest of the query byte for byte as it is, because some services want their
/// parameters written exactly one way.
pub(super) fn set_query(url: &mut Url, name: &str, value: &str) {
    let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    let mut query = kept(url, |key, _| key != name);
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(&pair);
    url.set_query(Some(&query));
}

/// The address as it may be shown: without the parameter that carries the key, without any parameter whose value holds a
/// secret (services echo keys in their links), without a fragment.
pub(super) fn shown(url: &Url, key_name: Option<&str>, secrets: &[Secret]) -> String {
    let is_open = |key: &str, value: &str| {
        let is_key = key_name.is_some_and(|name| name.eq_ignore_ascii_case(key));
        !is_key && !secrets.iter().any(|secret| value.contains(secret.reveal()))
    };
    let query = kept(url, is_open);
    let mut url = url.clone();
    url.set_query(if query.is_empty() { None } else { Some(&query) });
    url.set_fragment(None);
    url.into()
}

/// Whether both addresses lead to the same host in the same way, so that credentials for one may go to the other. From
/// `http` to `https` on the same host is a step up and allowed.
pub(super) fn is_same_host(from: &Url, to: &Url) -> bool {
    let same_door = from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
    let step_up = from.scheme() == "http" && to.scheme() == "https";
    from.host_str() == to.host_str() && (same_door || step_up)
}

/// Host and port, the name under which the pace is kept.
pub(super) fn host(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// The parameters for which `keep(name, value)` holds, as they were written.
fn kept(url: &Url, keep: impl Fn(&str, &str) -> bool) -> String {
    let pairs = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let kept = pairs.filter(|pair| form_urlencoded::parse(pair.as_bytes()).all(|(key, value)| keep(&key, &value)));
    kept.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn setting_a_parameter_leaves_the_others_as_written() {
        let mut address = url("https://data.example/?from=2026-08-01T10:00:00Z&page=1");
        set_query(&mut address, "page", "2");
        assert_eq!(address.as_str(), "https://data.example/?from=2026-08-01T10:00:00Z&page=2");
    }

    #[test]
    fn an_address_is_shown_without_keys_even_echoed_ones() {
        let secrets = [Secret::from("s3cret".to_owned())];
        let address = url("https://data.example/?KEY=other&next=a%3Ds3cret&page=2#top");
        assert_eq!(shown(&address, Some("key"), &secrets), "https://data.example/?page=2");
    }

    #[test]
    fn another_port_scheme_or_name_is_another_host() {
        let from = url("https://data.example/a");
        assert!(is_same_host(&from, &url("https://data.example:443/b")));
        for other in ["https://data.example:8443/", "http://data.example/", "https://evil.example/"] {
            assert!(!is_same_host(&from, &url(other)), "{other}");
        }
        assert!(is_same_host(&url("http://data.example/"), &from));
    }
}
