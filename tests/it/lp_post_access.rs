//! How lp-post finds its server, and whom it trusts.

use crate::lp_post::{RECORDS, STREAM, run};
use crate::server::{Play, Server, stored};

#[test]
fn there_is_no_default_server() {
    let ran = run(&[], &[], STREAM);
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("--host"), "{}", ran.stderr);
    for host in [
        "localhost:8086",
        "ftp://h",
        "http://u:p@h",
        "http://h?x=y",
        "http://h#x",
        "http://",
    ] {
        assert_eq!(Some(78), run(&["--host", host], &[], STREAM).code, "{host}");
    }
}

/// A proxy that is itself the server behind it.
fn tunnel() -> Server {
    Server::start(|request| {
        if request.method == "CONNECT" {
            Play::Send(b"HTTP/1.1 200 x\r\n\r\n".to_vec())
        } else {
            stored()
        }
    })
}

#[test]
fn a_token_never_goes_over_plain_http_to_another_machine() {
    let proxy = tunnel();
    let args = ["--host", "http://influx.test:8086", "--target", "v1"];
    let env = [
        ("INFLUX_TOKEN", "very-secret"),
        ("http_proxy", proxy.url.as_str()),
    ];
    let ran = run(&args, &env, STREAM);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("--allow-http") && !ran.stderr.contains("very-secret"));
    assert_eq!(0, proxy.requests().len());
    let allowed = [args.as_slice(), &["--allow-http"]].concat();
    assert_eq!(Some(0), run(&allowed, &env, STREAM).code);
    assert_eq!(Some(0), run(&args, &env[1..], STREAM).code);
}

#[test]
fn settings_come_from_options_then_variables_then_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let configs = dir.path().join("configs");
    let server = Server::willing();
    let text = format!(
        "[a]\nurl = \"{}\"\ntoken = \"profile-token\"\norg = \"profile-org\"\nactive = true\n",
        server.url
    );
    std::fs::write(&configs, text).unwrap();
    let path = configs.to_str().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "file-token\n").unwrap();
    let seen = |args: &[&str], env: &[(&str, &str)], server: &Server| {
        let before = server.requests().len();
        let own = ["--target", "oss2"];
        let ran = run(&[&own, args].concat(), env, STREAM);
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let request = server.requests()[before].clone();
        let org = request.path.split(['=', '&']).nth(1).unwrap().to_owned();
        let token = request
            .header("authorization")
            .unwrap_or_default()
            .to_owned();
        format!("{org} {token}")
    };
    let configs = ("INFLUX_CONFIGS_PATH", path);
    let env = [
        configs,
        ("INFLUX_TOKEN", "env-token"),
        ("INFLUX_ORG", "env-org"),
    ];
    assert_eq!(
        "profile-org Token profile-token",
        seen(&[], &[configs], &server)
    );
    assert_eq!("env-org Token env-token", seen(&[], &env, &server));
    assert_eq!(
        "o Token t",
        seen(&["-o", "o", "--token", "t"], &env, &server)
    );
    let file = token_file.to_str().unwrap();
    assert_eq!(
        "env-org Token file-token",
        seen(&["--token-file", file], &env, &server)
    );
    // The profile's token is not for another host, unless somebody says so.
    let other = Server::willing();
    let host = ["--host", other.url.as_str(), "-o", "o"];
    assert_eq!("o ", seen(&host, &[configs], &other));
    let named = [host.as_slice(), &["--profile", "a"]].concat();
    assert_eq!("o Token profile-token", seen(&named, &[configs], &other));
    assert_eq!(
        78,
        run(&["--profile", "x"], &[configs], STREAM).code.unwrap()
    );
}

#[test]
fn the_proxy_is_the_one_of_the_scheme() {
    let proxy = tunnel();
    let args = [
        "--host",
        "http://influx.test:8086",
        "--target",
        "v1",
        "--retry-delay",
        "1ms",
    ];
    let url = proxy.url.as_str();
    let ran = run(
        &args,
        &[("http_proxy", url), ("HTTPS_PROXY", "http://192.0.2.1:1")],
        STREAM,
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!("influx.test:8086", proxy.requests()[0].path);
    assert_eq!(vec![RECORDS], proxy.writes());
    // No such host, and nobody to ask: the library alone would take this one.
    let quick = [
        args.as_slice(),
        &["--timeout", "100ms", "--retry-max-time", "1ms"],
    ]
    .concat();
    for env in [
        [("HTTPS_PROXY", url), ("x", "")],
        [("http_proxy", url), ("NO_PROXY", "other,.test")],
    ] {
        let ran = run(&quick, &env, STREAM);
        assert!(matches!(ran.code, Some(75 | 78)), "{}", ran.stderr);
    }
    assert_eq!(2, proxy.requests().len());
}

#[test]
fn trust_is_set_up_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let path = empty.to_str().unwrap();
    let server = Server::willing();
    let https = server.url.replace("http://", "https://");
    let args = [
        "--host",
        &https,
        "--target",
        "v1",
        "--retry-delay",
        "1ms",
        "--retry-max-time",
        "5ms",
    ];
    let ran = run(&[&args[..], &["--ca-cert", path]].concat(), &[], STREAM);
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("no PEM certificate"), "{}", ran.stderr);
    // A server that speaks no TLS gets nothing.
    let env = [("SSL_CERT_FILE", path), ("SSL_CERT_DIR", "/nonexistent")];
    let ran = run(&args, &env, STREAM);
    assert!(matches!(ran.code, Some(75 | 78)), "{}", ran.stderr);
    assert!(ran.stderr.contains("bundled"), "{}", ran.stderr);
    assert_eq!(0, server.writes().len());
    let ran = run(&[&args[..], &["--insecure"]].concat(), &env, STREAM);
    assert!(
        ran.stderr.contains("nobody checks who the server is"),
        "{}",
        ran.stderr
    );
}

/// A socket in the file system that leads to a server.
fn socket_to(server: &Server, path: &std::path::Path) {
    use std::io::copy;
    use std::net::{Shutdown, TcpStream};
    use std::os::unix::net::UnixListener;
    let listener = UnixListener::bind(path).unwrap();
    let to = server.url["http://".len()..].to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(copy(&mut from, &mut into));
                drop(into.shutdown(Shutdown::Write));
            });
            std::thread::spawn(move || {
                drop(copy(&mut &server, &mut &client));
                drop(client.shutdown(Shutdown::Both));
            });
        }
    });
}

#[test]
fn a_socket_of_this_machine_leads_to_its_server_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("influxdb.sock");
    let mut n = 0;
    let server = Server::start(move |_| {
        n += 1;
        match n {
            // One that is closed before the answer, and one that is closed while it waits for the next request.
            1 => Play::SendAndClose(Vec::new()),
            2 => Play::SendAndClose(crate::server::STORED.to_vec()),
            _ => stored(),
        }
    });
    socket_to(&server, &path);
    let host = format!("unix:{}", path.display());
    let args = [
        "--host",
        &host,
        "--target",
        "v1",
        "--batch-lines",
        "1",
        "-j",
        "1",
        "--retry-delay",
        "1ms",
    ];
    let env = [
        ("INFLUX_TOKEN", "u:p"),
        ("http_proxy", "http://192.0.2.1:1"),
    ];
    let ran = run(&args, &env, STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(RECORDS, server.writes()[1..].concat());
    assert_eq!("/write?db=d&rp=r&precision=ns", server.requests()[0].path);
    let nobody = format!("unix:{}", dir.path().join("nobody").display());
    let ran = run(&["--host", &nobody, "--target", "v1"], &[], STREAM);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("no such socket"), "{}", ran.stderr);
}
