use super::*;

/// Expected requests with their answers, in order.
struct Script(Vec<(&'static str, u16, &'static str)>);

impl Script {
    fn run(self, org: Option<&str>, period: u64) -> Result<Done, Error> {
        let org = org.map(|org| Org::Name(org.to_owned()));
        self.ensure(&mut Buckets::new(Catalog::Buckets, org), wish(period))
    }

    /// The same for databases and policies of version 1, or databases of version 3.
    fn run_in(self, catalog: Catalog, period: u64) -> Result<Done, Error> {
        self.ensure(&mut Buckets::new(catalog, None), wish(period))
    }

    fn ensure(self, buckets: &mut Buckets, wish: Wish<'_>) -> Result<Done, Error> {
        let mut steps = self.0.into_iter();
        let result = buckets.ensure(&wish, &mut |path, payload| {
            let (expected, status, body) = steps.next().unwrap();
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let request = match payload {
                Payload::Json(json) => format!("{path} {}", text(json)),
                Payload::JsonPatch(json) => format!("PATCH {path} {}", text(json)),
                Payload::JsonPut(json) => format!("PUT {path} {}", text(json)),
                Payload::Form(form) => format!("{path} {}", plain(&text(form))),
                _ => path.to_owned(),
            };
            assert_eq!(expected, request);
            Ok(Answer {
                status,
                body: body.as_bytes().to_vec(),
                ..Answer::default()
            })
        });
        assert_eq!(0, steps.len());
        result
    }
}

fn wish(period: u64) -> Wish<'static> {
    Wish {
        name: "d/r",
        period,
        mapping: None,
    }
}

/// A form without its encoding.
fn plain(form: &str) -> String {
    let form = form.replace("%20", " ").replace("%22", "\"");
    form.replace("%27", "'")
}

const ID: &str = "0123456789abcdef";
const ORGS: &str = "/api/v2/orgs?org=my%20org";
const ORG: &str = r#"{"orgs":[{"id":"0123456789abcdef","name":"my org"}]}"#;
const FIND: &str = "/api/v2/buckets?orgID=0123456789abcdef&name=d%2Fr&limit=100&offset=0";
const MAKE: &str = r#"/api/v2/buckets {"name":"d/r","orgID":"0123456789abcdef","retentionRules":[{"everySeconds":3600,"type":"expire"}]}"#;
const NONE: &str = r#"{"code":"not found","message":"bucket \"d/r\" not found"}"#;
const HOUR: &str = r#"{"buckets":[{"id":"b","name":"d/r","retentionRules":[{"type":"expire","everySeconds":3600}]}]}"#;
const MADE: &str =
    r#"{"id":"b","name":"d/r","retentionRules":[{"type":"expire","everySeconds":3600}]}"#;

#[test]
fn a_bucket_that_is_missing_is_made_with_the_period() {
    let script = Script(vec![(ORGS, 200, ORG), (FIND, 404, NONE), (MAKE, 201, MADE)]);
    assert_eq!(Ok(Done::Made), script.run(Some("my org"), 3600));
    let script = Script(vec![(FIND, 200, r#"{"buckets":[]}"#), (MAKE, 201, MADE)]);
    assert_eq!(Ok(Done::Made), script.run(Some(ID), 3600));
}

#[test]
fn without_a_name_the_only_organisation_is_taken() {
    let script = Script(vec![("/api/v2/orgs", 200, ORG), (FIND, 200, HOUR)]);
    assert_eq!(Ok(Done::Found), script.run(None, 3600));
    let two = r#"{"orgs":[{"id":"1","name":"a"},{"id":"2","name":"b"}]}"#;
    let script = Script(vec![("/api/v2/orgs", 200, two)]);
    assert!(matches!(script.run(None, 3600), Err(Error::Setting(_))));
    let script = Script(vec![(ORGS, 200, two)]);
    assert!(matches!(
        script.run(Some("my org"), 0),
        Err(Error::Setting(_))
    ));
}

#[test]
fn a_bucket_that_keeps_less_stops_with_the_command_that_mends_it() {
    let script = Script(vec![(FIND, 200, HOUR)]);
    let text = script.run(Some(ID), 0).unwrap_err().to_string();
    assert_eq!(
        "bucket d/r keeps points for 1h and these are kept for ever (influx bucket update --id b --retention 0)",
        text
    );
    let script = Script(vec![(FIND, 200, HOUR)]);
    let text = script.run(Some(ID), 7200).unwrap_err().to_string();
    assert!(text.ends_with("--retention 7200s)"), "{text}");
}

#[test]
fn a_bucket_that_keeps_more_is_taken() {
    let ever = r#"{"buckets":[{"id":"b","name":"d/r","retentionRules":[]}]}"#;
    for period in [0, 1, u64::MAX] {
        let script = Script(vec![(FIND, 200, ever)]);
        assert_eq!(Ok(Done::Found), script.run(Some(ID), period));
    }
}

#[test]
fn a_conflict_means_to_look_again() {
    let conflict = r#"{"code":"conflict","message":"bucket with name d/r already exists"}"#;
    let script = Script(vec![
        (FIND, 404, NONE),
        (MAKE, 422, conflict),
        (FIND, 200, HOUR),
    ]);
    assert_eq!(Ok(Done::Found), script.run(Some(ID), 3600));
    let other = r#"{"code":"unprocessable entity","message":"too short"}"#;
    let script = Script(vec![(FIND, 404, NONE), (MAKE, 422, other)]);
    let text = "making bucket d/r: status 422: too short".to_owned();
    assert_eq!(Err(Error::Refused(text)), script.run(Some(ID), 3600));
}

#[test]
fn lists_are_searched_to_their_end() {
    let entry = r#"{"id":"x","name":"other"}"#;
    let full: &'static str =
        Box::leak(format!(r#"{{"buckets":[{}]}}"#, [entry; 100].join(",")).into_boxed_str());
    let next = "/api/v2/buckets?orgID=0123456789abcdef&name=d%2Fr&limit=100&offset=100";
    let script = Script(vec![(FIND, 200, full), (next, 200, HOUR)]);
    assert_eq!(Ok(Done::Found), script.run(Some(ID), 3600));
}

#[test]
fn permission_and_quota_are_told_apart() {
    let script = Script(vec![(FIND, 401, "")]);
    assert!(matches!(script.run(Some(ID), 0), Err(Error::Permission(_))));
    let quota = r#"{"code":"forbidden","message":"creating bucket would exceed quota"}"#;
    let script = Script(vec![(FIND, 404, NONE), (MAKE, 403, quota)]);
    assert!(matches!(script.run(Some(ID), 3600), Err(Error::Refused(_))));
}

#[test]
fn a_server_without_the_interface_is_no_missing_bucket() {
    let script = Script(vec![(FIND, 404, "not found")]);
    assert!(matches!(script.run(Some(ID), 0), Err(Error::Refused(_))));
    let script = Script(vec![("/api/v2/orgs", 404, "not found")]);
    assert!(matches!(script.run(None, 0), Err(Error::Refused(_))));
}

#[test]
fn a_known_bucket_is_not_asked_for_again_unless_more_is_wanted() {
    let mut buckets = Buckets::new(Catalog::Buckets, Some(Org::Id(ID.to_owned())));
    let mut asked = 0;
    let mut ensure = |buckets: &mut Buckets, period| {
        buckets.ensure::<Error>(&wish(period), &mut |_, _| {
            asked += 1;
            Ok(Answer {
                status: 200,
                body: HOUR.as_bytes().to_vec(),
                ..Answer::default()
            })
        })
    };
    assert_eq!(Ok(Done::Found), ensure(&mut buckets, 60));
    assert_eq!(Ok(Done::Known), ensure(&mut buckets, 3600));
    assert!(ensure(&mut buckets, 3601).is_err());
    assert!(ensure(&mut buckets, 0).is_err());
    buckets.forget("d/r");
    assert_eq!(Ok(Done::Found), ensure(&mut buckets, 60));
    assert_eq!(4, asked);
}

#[test]
fn a_bucket_that_we_made_is_raised_when_a_longer_period_turns_up() {
    let mut buckets = Buckets::new(Catalog::Buckets, Some(Org::Id(ID.to_owned())));
    let script = Script(vec![(FIND, 404, NONE), (MAKE, 201, MADE)]);
    assert_eq!(Ok(Done::Made), script.ensure(&mut buckets, wish(3600)));
    assert_eq!(Some(3600), buckets.keeps("d/r"));
    let raise =
        r#"PATCH /api/v2/buckets/b {"retentionRules":[{"everySeconds":0,"type":"expire"}]}"#;
    let script = Script(vec![(raise, 200, MADE)]);
    assert_eq!(Ok(Done::Raised), script.ensure(&mut buckets, wish(0)));
    assert_eq!(Some(0), buckets.keeps("d/r"));
    assert_eq!(
        Ok(Done::Known),
        Script(Vec::new()).ensure(&mut buckets, wish(7200))
    );
}

#[test]
fn an_organisation_may_be_given_by_its_id() {
    let mut buckets = Buckets::new(Catalog::Buckets, Some(Org::Id(ID.to_owned())));
    assert_eq!(
        Ok(Done::Found),
        Script(vec![(FIND, 200, HOUR)]).ensure(&mut buckets, wish(60))
    );
}

const MAPPINGS: &str = "/api/v2/dbrps?orgID=0123456789abcdef&db=d";

/// What is asked of the mappings of `d` where these are there, for a policy.
fn mapped(
    there: &'static str,
    policy: &str,
    steps: Vec<(&'static str, u16, &'static str)>,
) -> Result<Done, Error> {
    let mut buckets = Buckets::new(Catalog::Buckets, Some(Org::Id(ID.to_owned())));
    let all = [vec![(FIND, 200, HOUR), (MAPPINGS, 200, there)], steps].concat();
    let wish = Wish {
        mapping: Some(("d", policy)),
        ..wish(60)
    };
    let done = Script(all).ensure(&mut buckets, wish);
    if done.is_ok() {
        // Once is enough.
        assert_eq!(
            Ok(Done::Known),
            Script(Vec::new()).ensure(&mut buckets, wish)
        );
    }
    done
}

#[test]
fn the_first_policy_and_autogen_become_the_default_of_a_database() {
    let virtual_only = r#"{"content":[{"id":"v","bucketID":"b","database":"d","retention_policy":"r","default":true,"virtual":true}]}"#;
    let first = r#"/api/v2/dbrps {"bucketID":"b","database":"d","default":true,"orgID":"0123456789abcdef","retention_policy":"r"}"#;
    for none in [r#"{"content":[]}"#, virtual_only] {
        assert_eq!(Ok(Done::Found), mapped(none, "r", vec![(first, 201, "{}")]));
    }
    let other = r#"{"content":[{"id":"m","bucketID":"o","database":"d","retention_policy":"o","default":true}]}"#;
    let second = r#"/api/v2/dbrps {"bucketID":"b","database":"d","default":false,"orgID":"0123456789abcdef","retention_policy":"r"}"#;
    assert_eq!(
        Ok(Done::Found),
        mapped(other, "r", vec![(second, 201, "{}")])
    );
    let autogen = r#"/api/v2/dbrps {"bucketID":"b","database":"d","default":true,"orgID":"0123456789abcdef","retention_policy":"autogen"}"#;
    assert_eq!(
        Ok(Done::Found),
        mapped(other, "autogen", vec![(autogen, 201, "{}")])
    );
}

#[test]
fn a_mapping_that_is_there_is_made_the_default_or_refused_if_it_leads_elsewhere() {
    let own = r#"{"content":[{"id":"m","bucketID":"b","database":"d","retention_policy":"r","default":false}]}"#;
    let patch =
        r#"PATCH /api/v2/dbrps/m?orgID=0123456789abcdef {"default":true,"retention_policy":"r"}"#;
    assert_eq!(Ok(Done::Found), mapped(own, "r", vec![(patch, 200, "{}")]));
    let done = r#"{"content":[{"id":"m","bucketID":"b","database":"d","retention_policy":"r","default":true}]}"#;
    assert_eq!(Ok(Done::Found), mapped(done, "r", Vec::new()));
    let other = r#"{"content":[{"id":"m","bucketID":"x","database":"d","retention_policy":"r","default":true}]}"#;
    let err = mapped(other, "r", Vec::new()).unwrap_err();
    assert!(
        err.to_string().contains("influx v1 dbrp delete --id m"),
        "{err}"
    );
}

const DATABASE: &str = r#"/api/v3/configure/database {"db":"d/r","retention_period":"3600s"}"#;

#[test]
fn databases_of_version_3_are_made_and_raised_and_never_asked() {
    let mut buckets = Buckets::new(Catalog::Databases, None);
    let script = Script(vec![(DATABASE, 200, "")]);
    assert_eq!(Ok(Done::Made), script.ensure(&mut buckets, wish(3600)));
    let raise = r#"PUT /api/v3/configure/database {"db":"d/r"}"#;
    let script = Script(vec![(raise, 200, "")]);
    assert_eq!(Ok(Done::Raised), script.ensure(&mut buckets, wish(0)));
    let there = "attempted to create a resource that already exists";
    let script = Script(vec![(DATABASE, 409, there)]);
    assert_eq!(
        Ok(Done::FoundBlindly),
        script.run_in(Catalog::Databases, 3600)
    );
    let limit = r#"{"error":"Adding a new database would exceed limit of 5 databases"}"#;
    let script = Script(vec![(DATABASE, 422, limit)]);
    let err = script.run_in(Catalog::Databases, 3600).unwrap_err();
    assert!(
        matches!(&err, Error::Refused(text) if text.contains("limit of 5")),
        "{err}"
    );
    let script = Script(vec![(DATABASE, 400, r#"{"error":"db name has a blank"}"#)]);
    let err = script.run_in(Catalog::Databases, 3600).unwrap_err();
    assert!(matches!(err, Error::Setting(_)), "{err}");
    let script = Script(vec![(DATABASE, 401, "")]);
    let err = script.run_in(Catalog::Databases, 3600).unwrap_err();
    assert!(matches!(err, Error::Permission(_)), "{err}");
}

const SHOW: &str = r#"/query q=SHOW RETENTION POLICIES ON "d""#;
const MISSING: &str = r#"{"results":[{"statement_id":0,"error":"database not found: d"}]}"#;
const NOTHING: &str = r#"{"results":[{"statement_id":0}]}"#;
const POLICIES: &str = r#"{"results":[{"statement_id":0,"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"],"values":[["autogen","0s","168h0m0s",1,true],["r","1h0m0s","1h0m0s",1,false]]}]}]}"#;

fn version_1(period: u64, steps: Vec<(&'static str, u16, &'static str)>) -> Result<Done, Error> {
    Script(steps).run_in(Catalog::Statements, period)
}

#[test]
fn databases_and_policies_of_version_1_are_made_by_statements() {
    let database = r#"/query q=CREATE DATABASE "d" WITH DURATION 3600s REPLICATION 1 NAME "r""#;
    let steps = vec![(SHOW, 200, MISSING), (database, 200, NOTHING)];
    assert_eq!(Ok(Done::Made), version_1(3600, steps));
    let database = r#"/query q=CREATE DATABASE "d" WITH DURATION INF REPLICATION 1 NAME "r""#;
    let steps = vec![(SHOW, 200, MISSING), (database, 200, NOTHING)];
    assert_eq!(Ok(Done::Made), version_1(0, steps));
    let without = POLICIES.replace(r#"["r","#, r#"["s","#);
    let without: &'static str = Box::leak(without.into_boxed_str());
    let policy = r#"/query q=CREATE RETENTION POLICY "r" ON "d" DURATION 3600s REPLICATION 1"#;
    let steps = vec![(SHOW, 200, without), (policy, 200, NOTHING)];
    assert_eq!(Ok(Done::Made), version_1(3600, steps));
    assert_eq!(
        Ok(Done::Found),
        version_1(3600, vec![(SHOW, 200, POLICIES)])
    );
    let err = version_1(7200, vec![(SHOW, 200, POLICIES)]).unwrap_err();
    let text = err.to_string();
    let mends = r#"(influx -execute 'ALTER RETENTION POLICY "r" ON "d" DURATION 7200s')"#;
    assert!(text.ends_with(mends), "{text}");
}

#[test]
fn a_statement_that_is_refused_says_why() {
    let no = r#"{"error":"error authorizing query: u not authorized"}"#;
    let err = version_1(60, vec![(SHOW, 403, no)]).unwrap_err();
    assert!(
        matches!(&err, Error::Permission(text) if text.contains("u not authorized")),
        "{err}"
    );
    let short = r#"{"results":[{"statement_id":0,"error":"retention policy duration must be at least 1h0m0s"}]}"#;
    let database = r#"/query q=CREATE DATABASE "d" WITH DURATION 60s REPLICATION 1 NAME "r""#;
    let err = version_1(60, vec![(SHOW, 200, MISSING), (database, 200, short)]).unwrap_err();
    assert!(
        matches!(&err, Error::Refused(text) if text.contains("at least 1h0m0s")),
        "{err}"
    );
}

#[test]
fn a_server_that_has_no_buckets_is_asked_for_none() {
    let nowhere = Catalog::Elsewhere("it has none");
    assert!(matches!(
        Script(Vec::new()).run_in(nowhere, 60),
        Err(Error::Refused(_))
    ));
}
