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
        "serverless  InfluxDB Cloud Serverless. Records that are not UTF-8, or whose names hold backslashes that \
         InfluxDB 3 reads otherwise, are rejects.\n\ncloud  InfluxDB Cloud with the TSM engine.\n\noss2  InfluxDB OSS \
         2.x; needs --org.\n\nv1  InfluxDB 1.x by /write; databases and policies have to exist.\n\nvictoriametrics  \
         VictoriaMetrics, single node: strings become 0, times are cut to milliseconds, the bucket becomes the label \
         db; records with a line feed inside are rejects.",
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
        "INFLUX_HOST, INFLUX_TOKEN, INFLUX_ORG, INFLUX_ACTIVE_CONFIG, INFLUX_CONFIGS_PATH: as the options. \
         INFLUX_BUCKET_NAME: see above.\n\nHTTPS_PROXY, HTTP_PROXY (by the URL's scheme), ALL_PROXY, NO_PROXY, or in \
         lower case: the proxy.\n\nSSL_CERT_FILE, SSL_CERT_DIR: the certificates the system trusts.",
    ),
    (
        "EXAMPLES",
        "Everything of a stopped server, buckets made as needed:\n\n    tsm-cat /var/lib/influxdb | lp-post \
         --create-buckets\n\nAn export of influx_inspect without context:\n\n    lp-post --context telegraf/autogen \
         export.lp.gz\n\nWhat would be sent:\n\n    tsm-cat /var/lib/influxdb | lp-post --dry-run",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were rejected here or left out by an \
         earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is damaged or was \
         cut; what came whole is stored: write it again.\n\n66  an input is missing or standard input is empty: look \
         at the program before.\n\n69  the server refused for good, or too many rejects: look at the reasons.\n\n74  \
         an I/O error: look at disk and network.\n\n75  gave up for now: run the same command again.\n\n77  \
         permission: look at the token.\n\n78  configuration: mend host, bucket or organisation.\n\n141  the reader of \
         standard output went away.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-filter(1), lp-split-by-bucket(1), lp-rate(1), lineflow(7)",
    ),
];
