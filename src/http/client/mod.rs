//! Takes one request to a server and brings the answer back: the only place that knows the HTTP library.
//!
//! Redirects are not followed (a POST would become a GET, and the token could go elsewhere), error bodies are read,
//! every step has a time limit, and the proxy is the one that belongs to the URL's scheme.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error, Proxy};

use crate::http::{Answer, Carrier, Payload, Target, Token, Trouble};

#[cfg(unix)]
mod socket;

/// What is read of an answer's body: 1.x and 2.x repeat every line they cannot read.
const BODY_AT_MOST: u64 = 1 << 20;

/// Connections that wait for their next request.
const IDLE: usize = 256;

/// Slower than this and the request is given up.
const SLOWEST_BYTES_PER_SECOND: u64 = 100_000;

/// The URL of a server, to which the paths of its endpoints are appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// As it was typed, without a slash at the end.
    text: String,
    /// What requests are made of, without a slash at the end.
    url: String,
    /// The socket that leads there.
    socket: Option<PathBuf>,
    host: String,
    port: Option<u16>,
    is_https: bool,
}

impl Base {
    /// Read what a user typed.
    ///
    /// # Errors
    ///
    /// A sentence that says what a URL of a server looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "a server is named like https://example.com, http://localhost:8086 or unix:/run/influxdb.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::of_socket(text, path);
        }
        let url = text.trim_end_matches('/');
        let uri: Uri = url.parse().map_err(|_| format!("not a URL; {example}"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(format!(
                    "it begins with neither http:// nor https://; {example}"
                ));
            }
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("no host in it; {example}"))?;
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err("a user name or password does not belong there (--token-file)".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err(format!("it ends with a query or a fragment; {example}"));
        }
        Ok(Self {
            text: url.to_owned(),
            url: url.to_owned(),
            socket: None,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port: uri.port_u16(),
            is_https,
        })
    }

    /// A server of this machine behind a socket.
    fn of_socket(text: &str, path: &str) -> Result<Self, String> {
        // A URL may say that it names no host by two slashes more.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || cfg!(not(unix)) {
            return Err("a socket is named by its whole path: unix:/run/influxdb.sock".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            url: "http://localhost".to_owned(),
            socket: Some(path.into()),
            host: "localhost".to_owned(),
            port: None,
            is_https: false,
        })
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the server is this machine.
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        ip.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }
}

/// Whom to believe that they are the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those whom this machine believes.
    #[default]
    System,
    /// Those whom the certificates in this PEM text vouch for.
    Pem(Vec<u8>),
    /// Everybody.
    Anybody,
}

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub base: Base,
    /// What proves who we are.
    pub token: Option<Token>,
    /// Whether the token may go over plain HTTP to another machine.
    pub allow_http: bool,
    /// Whom to believe that they are the server.
    pub trust: Trust,
    /// The URL of a proxy.
    pub proxy: Option<String>,
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for an answer once everything is sent.
    pub answer: Duration,
    /// Where to look for a new token when the server does not know this one.
    pub renewal: Option<Renewal>,
}

/// Gives the token that is valid by now, as far as it can be read.
#[derive(Clone)]
pub struct Renewal(pub Arc<dyn Fn() -> Option<Token> + Send + Sync>);

impl fmt::Debug for Renewal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Renewal")
    }
}

/// Why no request can be sent at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Anybody on the way could read the token.
    #[error(
        "{0} is plain HTTP to another machine and would show the token to anybody on the way (use https, or --allow-http)"
    )]
    PlainToken(String),
    /// There is no certificate to trust.
    #[error("the certificates to trust cannot be read: {0}")]
    Certificates(String),
    /// Says nothing of the URL: it may hold a password.
    #[error("the URL of the proxy cannot be read")]
    Proxy,
}

/// One server; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    settings: Settings,
    authorization: Option<String>,
    target: Option<Target>,
    /// Whether it ever answered: trouble after that is more likely to pass.
    answered: bool,
    news: Option<&'static str>,
}

impl Client {
    /// Get ready; sends nothing.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let Settings { base, token, .. } = &settings;
        if token.is_some() && !base.is_https && !base.is_loopback() && !settings.allow_http {
            return Err(SetupError::PlainToken(base.text.clone()));
        }
        let roots = roots(&settings.trust)?;
        let agent = agent(&settings, roots)?;
        let authorization = token.as_ref().map(|token| token.header(None));
        Ok(Self {
            agent,
            settings,
            authorization,
            target: None,
            answered: false,
            news: None,
        })
    }

    /// The URL of the server.
    pub fn base(&self) -> &Base {
        &self.settings.base
    }

    fn send(&self, path: &str, payload: Payload<'_>) -> Result<Response<Body>, Error> {
        let url = format!("{}{path}", self.settings.base.url);
        let authorization = self.authorization.iter();
        let (bytes, kind, encoding) = match payload {
            Payload::Nothing => {
                let request = self.agent.get(url).header("Accept", "application/json");
                return authorization
                    .fold(request, |request, value| {
                        request.header("Authorization", value)
                    })
                    .call();
            }
            Payload::GzipLines(bytes) => (bytes, "text/plain; charset=utf-8", Some("gzip")),
            Payload::Lines(bytes) => (bytes, "text/plain; charset=utf-8", None),
            Payload::Json(bytes) | Payload::JsonPatch(bytes) | Payload::JsonPut(bytes) => {
                (bytes, "application/json", None)
            }
            Payload::Form(bytes) => (bytes, "application/x-www-form-urlencoded", None),
        };
        let transfer = Duration::from_secs(bytes.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let mut request = match payload {
            Payload::JsonPatch(_) => self.agent.patch(url),
            Payload::JsonPut(_) => self.agent.put(url),
            _ => self.agent.post(url),
        };
        request = request
            .header("Accept", "application/json")
            .header("Content-Type", kind);
        if let Some(value) = encoding {
            request = request.header("Content-Encoding", value);
        }
        for value in authorization {
            request = request.header("Authorization", value);
        }
        let limit = self.settings.answer.saturating_add(transfer);
        let request = request.config().timeout_send_body(Some(limit)).build();
        // A slice has a length, which goes into `Content-Length`.
        request.send(bytes)
    }

    fn use_bundled_roots(&mut self) -> Result<(), Trouble> {
        self.agent = agent(&self.settings, RootCerts::WebPki)
            .map_err(|err| Trouble::Lasting(err.to_string()))?;
        self.news = Some("this system trusts no certificates: the bundled ones are used");
        Ok(())
    }

    fn trouble(&self, err: Error) -> Trouble {
        let text = err.to_string();
        match err {
            Error::Io(err) => match err.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Trouble::Closed(err.to_string()),
                ErrorKind::NotFound if !self.answered => Trouble::Lasting(format!(
                    "{}: there is no such socket",
                    self.settings.base.text
                )),
                // What the TLS library makes of a certificate that it does not trust, and of a server without TLS.
                ErrorKind::InvalidData if !self.answered => Trouble::Lasting(err.to_string()),
                _ if text.contains("failed to lookup address") => self.unknown_host(&text),
                _ => Trouble::Passing(err.to_string()),
            },
            Error::HostNotFound => self.unknown_host(&text),
            Error::ConnectProxyFailed(text) if text.contains("407") => {
                Trouble::Lasting("the proxy wants a user name and a password".to_owned())
            }
            Error::Timeout(_)
            | Error::Protocol(_)
            | Error::ConnectionFailed
            | Error::LargeResponseHeader(..)
            | Error::ConnectProxyFailed(_) => Trouble::Passing(text),
            _ => Trouble::Lasting(text),
        }
    }

    /// A name that was never found is misspelled; one that was is found again.
    fn unknown_host(&self, text: &str) -> Trouble {
        let host = &self.settings.base.host;
        if self.answered || text.contains("Temporary") {
            Trouble::Passing(format!("{host}: the address cannot be looked up now"))
        } else {
            Trouble::Lasting(format!("{host}: there is no such host"))
        }
    }
}

impl Carrier for Client {
    fn carry(&mut self, path: &str, payload: Payload<'_>) -> Result<Answer, Trouble> {
        let mut result = self.send(path, payload);
        if let Err(Error::Rustls(err)) = &result
            && err.to_string().contains("No CA certificates")
            && self.settings.trust == Trust::System
        {
            self.use_bundled_roots()?;
            result = self.send(path, payload);
        }
        let response = result.map_err(|err| self.trouble(err))?;
        self.answered = true;
        read(response)
    }

    fn set_target(&mut self, target: Target) {
        self.target = Some(target);
        let token = self.settings.token.as_ref();
        self.authorization = token.map(|token| token.header(self.target));
    }

    fn renew(&mut self) -> bool {
        let renewal = self.settings.renewal.as_ref();
        let token = renewal.and_then(|renewal| (renewal.0)());
        if token.is_none() || token == self.settings.token {
            return false;
        }
        self.authorization = token.as_ref().map(|token| token.header(self.target));
        self.settings.token = token;
        true
    }

    fn news(&mut self) -> Option<&'static str> {
        self.news.take()
    }
}

fn read(response: Response<Body>) -> Result<Answer, Trouble> {
    let word = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let headers = response.headers();
    let mut answer = Answer {
        status: response.status().as_u16(),
        retry_after: word(headers, "retry-after"),
        date: word(headers, "date"),
        location: word(headers, "location"),
        version: word(headers, "x-influxdb-version"),
        build: word(headers, "x-influxdb-build"),
        ..Answer::default()
    };
    let mut body = response.into_body().into_reader().take(BODY_AT_MOST + 1);
    body.read_to_end(&mut answer.body)
        .map_err(|err| Trouble::Passing(format!("half an answer: {err}")))?;
    answer.cut = answer.body.len() as u64 > BODY_AT_MOST;
    answer.body.truncate(BODY_AT_MOST as usize);
    Ok(answer)
}

fn roots(trust: &Trust) -> Result<RootCerts, SetupError> {
    let Trust::Pem(pem) = trust else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(err) => return Err(SetupError::Certificates(err.to_string())),
        }
    }
    if certificates.is_empty() {
        let text = "there is no PEM certificate in it";
        return Err(SetupError::Certificates(text.to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn agent(settings: &Settings, roots: RootCerts) -> Result<Agent, SetupError> {
    let proxy = match &settings.proxy {
        Some(url) => Some(Proxy::new(url).map_err(|_| SetupError::Proxy)?),
        None => None,
    };
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .disable_verification(settings.trust == Trust::Anybody)
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Without this the library takes HTTPS_PROXY for everything.
        .proxy(proxy)
        .tls_config(tls)
        .max_idle_connections(IDLE)
        .max_idle_connections_per_host(IDLE)
        .user_agent(concat!("lp-post/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(settings.connect))
        .timeout_connect(Some(settings.connect))
        .timeout_send_request(Some(settings.answer))
        .timeout_send_body(Some(settings.answer))
        .timeout_recv_response(Some(settings.answer))
        .timeout_recv_body(Some(settings.answer))
        .build();
    Ok(match &settings.base.socket {
        #[cfg(unix)]
        Some(path) => socket::agent(config, path.clone()),
        _ => config.new_agent(),
    })
}

/// The proxy that the environment names for this server.
///
/// The variable belongs to the URL's scheme; `NO_PROXY` lists hosts, domains and networks without one.
pub fn proxy(base: &Base, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let read = |names: [&str; 2]| {
        let values = names.into_iter().filter_map(&variable);
        values.into_iter().find(|value| !value.is_empty())
    };
    if base.is_loopback()
        || read(["no_proxy", "NO_PROXY"]).is_some_and(|list| is_listed(base, &list))
    {
        return None;
    }
    let own = if base.is_https {
        ["https_proxy", "HTTPS_PROXY"]
    } else {
        ["http_proxy", "HTTP_PROXY"]
    };
    read(own).or_else(|| read(["all_proxy", "ALL_PROXY"]))
}

fn is_listed(base: &Base, list: &str) -> bool {
    let mut entries = list.split([',', ' ']).map(str::trim);
    entries.any(|entry| {
        !entry.is_empty() && (entry == "*" || matches(base, &entry.to_ascii_lowercase()))
    })
}

fn matches(base: &Base, entry: &str) -> bool {
    if let (Ok(ip), Some((net, bits))) = (base.host.parse::<IpAddr>(), entry.split_once('/')) {
        return is_inside(ip, net, bits).unwrap_or(false);
    }
    let (entry, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    };
    if port.is_some() && port != base.port {
        return false;
    }
    let name = entry.trim_start_matches('*').trim_start_matches('.');
    let is_below = base
        .host
        .strip_suffix(name)
        .is_some_and(|host| host.ends_with('.'));
    base.host == name || is_below
}

fn is_inside(ip: IpAddr, net: &str, bits: &str) -> Option<bool> {
    let wide = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((ip, width), (net, net_width)) = (wide(ip), wide(net.parse().ok()?));
    let bits: u32 = bits.parse().ok().filter(|&bits| bits <= width)?;
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Some(width == net_width && ip & mask == net & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Base {
        Base::parse(text).unwrap()
    }

    fn proxied(url: &str, env: &[(&str, &str)]) -> Option<String> {
        proxy(&base(url), |name| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_base_is_scheme_host_and_path() {
        assert_eq!("https://h:1/a/b", base("https://h:1/a/b//").as_str());
        for text in [
            "",
            "h",
            "h:8086",
            "ftp://h",
            "http://",
            "http:///a",
            "http://u@h",
            "http://h?a",
            "unix:",
            "unix:x.sock",
            "unix://x.sock",
        ] {
            assert!(Base::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_this_machine_and_keeps_its_name() {
        for text in ["unix:/run/x.sock", "unix:///run/x.sock"] {
            let base = base(text);
            assert_eq!(text, base.as_str());
            assert_eq!(Some(PathBuf::from("/run/x.sock")), base.socket);
            assert!(base.is_loopback());
        }
    }

    #[test]
    fn this_machine_is_known_by_name_and_by_number() {
        for url in [
            "http://localhost:8086",
            "http://127.0.0.9",
            "http://[::1]:8086",
            "http://LOCALHOST",
        ] {
            assert!(base(url).is_loopback(), "{url}");
        }
        for url in [
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[::2]",
            "http://h",
        ] {
            assert!(!base(url).is_loopback(), "{url}");
        }
    }

    #[test]
    fn the_proxy_belongs_to_the_scheme() {
        let env = [
            ("HTTPS_PROXY", "s"),
            ("http_proxy", "h"),
            ("ALL_PROXY", "a"),
        ];
        assert_eq!(Some("s".to_owned()), proxied("https://x", &env));
        assert_eq!(Some("h".to_owned()), proxied("http://x", &env));
        assert_eq!(
            Some("a".to_owned()),
            proxied("http://x", &[("http_proxy", ""), ("ALL_PROXY", "a")])
        );
        assert_eq!(None, proxied("http://x", &[("HTTPS_PROXY", "s")]));
        assert_eq!(None, proxied("http://localhost", &env));
    }

    #[test]
    fn no_proxy_lists_hosts_domains_ports_and_networks() {
        for (expected, url, list) in [
            (true, "http://a.example.com", "example.com"),
            (true, "http://a.example.com", "x, .example.com"),
            (true, "http://a.example.com", "*.EXAMPLE.com"),
            (true, "http://example.com", "example.com"),
            (false, "http://badexample.com", "example.com"),
            (true, "http://a.b", "*"),
            (true, "http://a.b:8086", "a.b:8086"),
            (false, "http://a.b:8087", "a.b:8086"),
            (true, "http://10.1.2.3", "10.0.0.0/8"),
            (false, "http://11.1.2.3", "10.0.0.0/8"),
            (true, "http://10.1.2.3", "10.1.2.3"),
            (true, "http://[fd00::1]", "fd00::/8"),
            (true, "http://10.1.2.3", "0.0.0.0/0"),
            (false, "http://10.1.2.3", "10.0.0.0/33"),
            (false, "http://a.b", ","),
        ] {
            let env = [("http_proxy", "h"), ("NO_PROXY", list)];
            assert_eq!(expected, proxied(url, &env).is_none(), "{url} {list}");
        }
    }

    #[test]
    fn a_token_needs_tls_or_loopback_or_a_word() {
        let new = |url: &str, allow_http: bool| {
            Client::new(Settings {
                base: base(url),
                token: Token::new("t"),
                allow_http,
                trust: Trust::Anybody,
                proxy: None,
                connect: Duration::from_secs(1),
                answer: Duration::from_secs(1),
                renewal: None,
            })
        };
        assert!(matches!(
            new("http://h", false),
            Err(SetupError::PlainToken(_))
        ));
        assert!(new("http://h", true).is_ok());
        assert!(new("https://h", false).is_ok());
        assert!(new("http://localhost", false).is_ok());
    }
}
