//! What the manual of lp-post says beyond its options.

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "WHERE POINTS GO",
        "To the bucket of --bucket; else to the one the stream names by CONTEXT-BUCKET, or database/policy; else, for \
         points of a stream that never had a context, to --context or INFLUX_BUCKET_NAME. If the first point has no \
         bucket nothing is sent, status 78; later ones are rejects. --bucket over a stream of several buckets needs \
         --merge-buckets.\n\nHost, token and organisation come from options, else from INFLUX_HOST, INFLUX_TOKEN and \
         INFLUX_ORG, else from the profile file of the influx command. The token of a profile goes to the profile's \
         own host only, unless --profile names it. No token ever goes over plain HTTP to another machine without \
         --allow-http, and no redirect is followed.",
    ),
    (
        "TARGETS",
        "What the server is decides on the endpoint, on how names are spelled, on what is refused before it is sent, and \
         on how its errors are read. --target auto asks by /ping. An InfluxDB Cloud says there that it is one, and which \
         engine it has only to whom may look at its organisations: where that stays open, a record whose names the \
         engines spell differently ends the run with status 78.\n\nTimes go out in nanoseconds, and the precision is \
         always said. The stream spells names as InfluxDB 1.x does; for InfluxDB 3 they are spelled anew. A record that \
         the target cannot hold is a reject, with the rule it breaks (lp-filter --validate tells them beforehand). A \
         bucket that the target can have none of, by its name, ends the run before the first point.",
    ),
    (
        "TARGET SERVERLESS",
        "InfluxDB Cloud Serverless: /api/v2/write. The token decides on the organisation. 50 MB a request. The quota \
         counts bytes before compression for the whole organisation in windows of five minutes: --rate serverless, or \
         --rate auto. One schema a table: a column has one type. Bucket names have two characters at least, do not begin \
         with _ and hold no double quote.",
    ),
    (
        "TARGET CLOUD",
        "InfluxDB Cloud with the TSM engine: /api/v2/write, 50 MB a request. It answers before it stores: what it \
         drops later is told in the bucket _monitoring alone.",
    ),
    (
        "TARGET OSS2",
        "InfluxDB OSS 2.x: /api/v2/write; needs --org or --org-id. A bucket DATABASE/POLICY is found by InfluxQL without \
         naming the policy only after --dbrp has mapped it.",
    ),
    (
        "TARGET V1",
        "InfluxDB 1.x, OSS or Enterprise: /write, 25 MB a request. A bucket is DATABASE/POLICY, or DATABASE for its \
         default policy. The token is user:password, or a JWT. --create-buckets runs CREATE DATABASE and CREATE \
         RETENTION POLICY, for which the user has to be an administrator. The server says how many points it refused and \
         not which: they are found by halves. Where two requests are the first ones into a shard at the same moment it \
         can lose points that it has answered for (with 1.6.7 in about one new shard in a thousand; its log still has \
         them until its next snapshot): --jobs 1 is sure.",
    ),
    (
        "TARGET CORE",
        "InfluxDB 3 Core: /api/v3/write_lp, which stores the good records of a request and names the others, 10 MiB a \
         request. The bucket is the database, slash and all; a client that asks by db=D&rp=autogen looks for D, which \
         lp-split-by-bucket --map gives. Databases are made by the first write, for ever, or by --create-buckets with \
         their period; how long one keeps points that is there already the server does not say. An answer comes with the \
         next flush of its log, once a second, so several requests at once go faster (--jobs).",
    ),
    ("TARGET ENTERPRISE", "InfluxDB 3 Enterprise: as Core."),
    (
        "TARGET CLUSTERED",
        "InfluxDB Clustered: /api/v2/write with a database token, 50 MB a request; the bucket is the database. \
         Databases are made by influxctl database create, not by those who write.",
    ),
    (
        "TARGET DEDICATED",
        "InfluxDB Cloud Dedicated: as Clustered.",
    ),
    (
        "TARGET VICTORIAMETRICS",
        "VictoriaMetrics, single node: /api/v2/write, 64 MiB a request. It has no buckets: the name becomes the label db. \
         Strings become 0, truth values and integers become floats, times are cut to milliseconds. Records with a line \
         feed inside are rejects: it cuts requests at every one.",
    ),
    (
        "BUCKETS",
        "--create-buckets sees to a bucket when the stream names it, before its points and even without any, so that an \
         administrator can make all of them beforehand with a token that the upload does not need. Where several policies \
         go into one bucket the longest period counts; a bucket made by this run is raised when a longer one turns up. A \
         bucket that was there and keeps less ends the run, status 78, with the command that mends it. A period that \
         nobody says is never left to the server: --retention-period says it.\n\nPoints that are older than their bucket \
         keeps are not sent. If the policy they come from would drop them as well they are counted as expired, which is no \
         loss; otherwise they are rejects. --expired says it for all.",
    ),
    (
        "FAILURES",
        "A request that gets no answer, or a status that passes (408, 425, 429, 5xx), is sent again: after a second, \
         then after twice as long up to a minute, with chance in it, and never before what Retry-After says. A \
         request that is too large is halved. Records that the server names as bad become rejects and the rest goes \
         again; where it names none, halves find them. Sending a point twice changes nothing in InfluxDB.\n\nRecords \
         without timestamp are rejects: the server would put its own clock's, another one each time.",
    ),
    (
        "GOING ON",
        "With --journal the same command can be run again until it is done. The journal holds a fingerprint of each \
         batch that was stored, made of its bytes and the place they went to. A batch is skipped as often as it was \
         stored before. Batches begin anew at every context comment, so a shard that has changed moves no batch of \
         another. Options that cut the input into other batches (--batch-lines, --batch-bytes, --rate, and --jobs \
         where points may come twice) make batches that the journal does not know. On start the file of --rejects is \
         cut back to where the journal says that it stood, if the last run broke off. One process at a time: another \
         one ends with status 75. It takes 48 bytes on disk and 24 in memory a batch.",
    ),
    (
        "REJECTS",
        "Standard output, or the file of --rejects, holds them as a stream of its own: context, bucket, a comment \
         with place and reason, the record. Mended, lp-post takes it without further options.\n\nWhere a server with \
         one schema a table refuses a value because of its type, all later values of this type for this column are \
         rejects unsent, and the last line says which option of lp-filter mends them.",
    ),
    (
        "ENVIRONMENT",
        "INFLUX_HOST, INFLUX_TOKEN, INFLUX_ORG, INFLUX_ORG_ID, INFLUX_ACTIVE_CONFIG, INFLUX_CONFIGS_PATH, \
         INFLUX_PRECISION, INFLUX_SKIP_VERIFY: as the options. INFLUX_BUCKET_NAME, or INFLUX_BUCKET_ID, which wins: see above.\n\nHTTPS_PROXY, HTTP_PROXY (by the URL's scheme), ALL_PROXY, NO_PROXY, or in \
         lower case: the proxy.\n\nSSL_CERT_FILE, SSL_CERT_DIR: the certificates the system trusts.",
    ),
    (
        "EXAMPLES",
        "Everything of a stopped server, buckets made as needed:\n\n    tsm-cat /var/lib/influxdb | lp-post \
         --create-buckets\n\nAn export of influx_inspect without context:\n\n    lp-post --context telegraf/autogen \
         export.lp.gz\n\nAs influx write did it:\n\n    lp-post --bucket example-db/autogen --file export.lp --rate-limit \
         '300 MB / 5 min'\n\nWould it work?\n\n    lp-post --ping --bucket example-db/autogen\n\nWhat would be \
         sent:\n\n    tsm-cat /var/lib/influxdb | lp-post --dry-run\n\nAn application that goes on \
         writing:\n\n    tail -F app.lp | lp-post --bucket app --batch-age 1s",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were rejected here or left out by an \
         earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is damaged or was \
         cut; what came whole is stored: write it again. Or its times may not be nanoseconds: say --precision.\n\n66  an input is missing or standard input is empty: look \
         at the program before.\n\n69  the server refused for good, or too many rejects: look at the reasons.\n\n74  \
         an I/O error: look at disk and network.\n\n75  gave up for now: run the same command again.\n\n77  \
         permission: look at the token.\n\n78  configuration: mend host, bucket or organisation.\n\n130  stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP: run it again.\n\n141  the reader of \
         standard output went away.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-filter(1), lp-split-by-bucket(1), lp-rate(1), lineflow(7)",
    ),
];
