//! lp-post and servers that speak TLS: whom it believes, and what it makes of a connection that ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::scratch;
use crate::lp_post::{Ran, STREAM, run};
use crate::proxy::Tunnel;

/// Run `openssl` in a folder to its end.
fn openssl(dir: &Path, command: &str) {
    let made = Command::new("openssl")
        .args(command.split(' '))
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let made = made.unwrap_or_else(|err| panic!("openssl: {err} (this test needs its package)"));
    assert!(made.success(), "openssl {command}: {made}");
}

/// An authority in `ca.pem`, and a certificate for `localhost` and `db.test` that it vouches for in `cert.pem`, for so many days.
fn certificates(dir: &Path, days: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        dir,
        &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=lineflow"),
    );
    openssl(
        dir,
        &format!("req {key} -keyout key.pem -out own.csr -subj /CN=localhost"),
    );
    let text = "subjectAltName=DNS:localhost,DNS:db.test\nbasicConstraints=critical,CA:FALSE\n";
    std::fs::write(dir.join("own.ext"), text).unwrap();
    let vouch = "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -extfile own.ext -out cert.pem";
    openssl(dir, &format!("{vouch} -CAcreateserial -days {days}"));
}

/// `openssl s_server`, which shows the certificate of a folder.
struct Tls {
    child: Child,
    port: u16,
}

impl Tls {
    /// Each request is answered by the next of these lines, the last one again and again; `q` ends the connection.
    fn start(dir: &Path, mut answers: Vec<&'static str>) -> Self {
        let mut child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-cert",
                "cert.pem",
                "-key",
                "key.pem",
            ])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        let accept = lines.find_map(|line| {
            let line = String::from_utf8(line.unwrap()).ok()?;
            line.strip_prefix("ACCEPT ").map(str::to_owned)
        });
        let port = accept.unwrap().rsplit(':').next().unwrap().parse().unwrap();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let is_request = line
                    .to_ascii_lowercase()
                    .starts_with(b"user-agent: lp-post");
                if is_request {
                    let answer = match answers.len() {
                        1 => answers[0],
                        _ => answers.remove(0),
                    };
                    stdin.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Self { child, port }
    }

    fn post(&self, host: &str, more: &[&str]) -> Ran {
        let url = format!("https://{host}:{}", self.port);
        let args = ["--host", &url, "--target", "v1", "--token", "secret"];
        let ran = run(&[&args[..], more].concat(), &[], STREAM);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        ran
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

const STORED: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn a_server_has_to_prove_who_it_is() {
    let dir = scratch();
    certificates(dir.path(), "2");
    let server = Tls::start(dir.path(), vec![STORED]);
    let authority = dir.path().join("ca.pem");
    let authority = authority.to_str().unwrap();
    // Nobody vouches for it.
    let unknown = server.post("localhost", &[]);
    assert_eq!(Some(78), unknown.code, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("certificate"), "{}", unknown.stderr);
    let known = server.post("localhost", &["--ca-cert", authority]);
    assert_eq!(Some(0), known.code, "{}", known.stderr);
    // The certificate is for another name.
    let other = server.post("127.0.0.1", &["--ca-cert", authority]);
    assert_eq!(Some(78), other.code, "{}", other.stderr);
    assert!(other.stderr.contains("certificate"), "{}", other.stderr);
    let anybody = server.post("127.0.0.1", &["--insecure"]);
    assert_eq!(Some(0), anybody.code, "{}", anybody.stderr);
}

#[test]
fn a_certificate_that_has_expired_proves_nothing() {
    let dir = scratch();
    certificates(dir.path(), "-1");
    let server = Tls::start(dir.path(), vec![STORED]);
    let authority = dir.path().join("ca.pem");
    let args = ["--ca-cert", authority.to_str().unwrap()];
    let ran = server.post("localhost", &args);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr.to_lowercase().contains("expired"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_connection_that_tls_closes_before_the_answer_is_opened_anew() {
    let dir = scratch();
    certificates(dir.path(), "2");
    // The words that end a connection in good order, with all the records unanswered.
    let server = Tls::start(dir.path(), vec!["q\n", "q\n", STORED]);
    let authority = dir.path().join("ca.pem");
    let args = [
        "--ca-cert",
        authority.to_str().unwrap(),
        "--retry-delay",
        "1ms",
    ];
    let ran = server.post("localhost", &args);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(2, ran.stderr.matches("again in").count(), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("closed before an answer"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_proxy_passes_on_what_it_cannot_read() {
    let dir = scratch();
    certificates(dir.path(), "2");
    let server = Tls::start(dir.path(), vec![STORED]);
    let proxy = Tunnel::to(server.port);
    let authority = dir.path().join("ca.pem");
    let authority = authority.to_str().unwrap();
    let args = [
        "--host",
        "https://db.test:8086",
        "--target",
        "v1",
        "--ca-cert",
        authority,
    ];
    let env = [
        ("INFLUX_TOKEN", "secret"),
        ("https_proxy", proxy.url.as_str()),
        ("http_proxy", "http://192.0.2.1:1"),
    ];
    let ran = run(&args, &env, STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["CONNECT db.test:8086"], proxy.asked());
    // Behind the proxy the server has to prove who it is all the same.
    let other = [
        "--host",
        "https://other.test:8086",
        "--target",
        "v1",
        "--ca-cert",
        authority,
    ];
    let ran = run(&other, &env, STREAM);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("certificate"), "{}", ran.stderr);
}
