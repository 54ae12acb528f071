//! Where lp-post's settings come from: options and their variables, then the profile of the influx command.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::Args;
use super::sink::Sink;
use crate::cli::exit::Failure;
use crate::http::client::{Base, Client, Renewal, Settings, Trust, proxy};
use crate::http::profile::{self, Profile};
use crate::http::{Org, Token};

/// What reaching a server takes, as far as anything says it.
#[derive(Debug, Default)]
pub struct Access {
    /// Where the server is.
    pub base: Option<Base>,
    /// The token for it.
    pub token: Option<Token>,
    /// The organisation to write for.
    pub org: Option<Org>,
}

fn config(text: impl std::fmt::Display) -> anyhow::Error {
    Failure::Config(text.to_string()).into()
}

/// A variable of the environment that is set to something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Put together what options, variables and the profile say.
pub fn access(args: &Args, sink: &Sink) -> anyhow::Result<Access> {
    let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let host = set(&args.host);
    let mut access = Access {
        base: host.as_deref().map(base).transpose()?,
        token: token(args)?,
        org: org(set(&args.org), set(&args.org_id))?,
    };
    if is_typed(args) {
        sink.note("--token: others on this machine can see it (--token-file, or INFLUX_TOKEN)");
    }
    let Some(profile) = chosen(args, access.base.is_some())? else {
        return Ok(access);
    };
    let own = match &profile.url {
        Some(url) => Some(base(url).with_context(|| format!("profile {}", profile.name))?),
        None => None,
    };
    if access.base.is_none() {
        access.base.clone_from(&own);
    }
    // A token must not go to a host that it was not made for, unless somebody says so.
    if access.base == own || args.profile.is_some() {
        access.token = access.token.or(profile.token);
        access.org = access.org.or(profile.org.map(Org::Name));
    }
    Ok(access)
}

/// As in the influx command one of both is enough, and two are a mistake wherever they come from.
fn org(name: Option<String>, id: Option<String>) -> anyhow::Result<Option<Org>> {
    match (name, id) {
        (Some(name), Some(id)) => Err(Failure::Usage(format!(
            "--org {name} and --org-id {id}: one of both, also where it comes from INFLUX_ORG or INFLUX_ORG_ID"
        ))
        .into()),
        (name, id) => Ok(name.map(Org::Name).or(id.map(Org::Id))),
    }
}

/// Whether the token that is used stands on the command line.
fn is_typed(args: &Args) -> bool {
    args.token_file.is_none() && args.token.is_some() && args.token != variable("INFLUX_TOKEN")
}

fn base(text: &str) -> anyhow::Result<Base> {
    Base::parse(text).map_err(|why| config(format!("host {text}: {why}")))
}

fn token(args: &Args) -> anyhow::Result<Option<Token>> {
    let (text, place) = match (&args.token_file, &args.token) {
        (Some(path), _) => (read(path)?, path.display().to_string()),
        (None, Some(text)) if !text.is_empty() => (text.clone(), "--token".to_owned()),
        _ => return Ok(None),
    };
    match Token::new(&text) {
        Some(token) => Ok(Some(token)),
        None => Err(config(format!(
            "{place}: a token is one word of visible characters"
        ))),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The profile to look into. Where the host is known nobody has to have a usable one.
fn chosen(args: &Args, has_host: bool) -> anyhow::Result<Option<Profile>> {
    let is_asked = args.profile.is_some() || args.configs_path.is_some();
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".influxdbv2/configs"));
    let Some(path) = args.configs_path.clone().or(home) else {
        return Ok(None);
    };
    if !is_asked && !path.exists() {
        return Ok(None);
    }
    let text = read(&path);
    let found = text.and_then(|text| {
        let wanted = args.profile.as_deref().filter(|name| !name.is_empty());
        profile::choose(&text, wanted).map_err(|err| config(format!("{}: {err}", path.display())))
    });
    match found {
        Err(_) if has_host && !is_asked => Ok(None),
        found => found,
    }
}

/// A client for the server, ready to send.
pub fn client(args: &Args, base: Base, token: Option<Token>) -> anyhow::Result<Client> {
    let trust = match &args.ca_cert {
        Some(path) => Trust::Pem(read(path)?.into_bytes()),
        None if args.insecure => Trust::Anybody,
        None => Trust::System,
    };
    let settings = Settings {
        proxy: proxy(&base, variable),
        base,
        token,
        allow_http: args.allow_http,
        trust,
        connect: Duration::from_secs(10).min(args.timeout),
        answer: args.timeout,
        renewal: args.token_file.clone().map(|path| {
            let read = move || Token::new(&std::fs::read_to_string(&path).ok()?);
            Renewal(Arc::new(read))
        }),
    };
    Client::new(settings).map_err(config)
}
