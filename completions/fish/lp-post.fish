complete -c lp-post -l host -d 'URL of the server, http or https; may have a path; or unix:PATH, a socket of this machine' -r
complete -c lp-post -l target -d 'What the server is: serverless, cloud, oss2, v1, core, enterprise, clustered, dedicated, victoriametrics' -r
complete -c lp-post -s o -l org -d 'Organisation to write for, by name or ID' -r
complete -c lp-post -l org-id -d 'Organisation to write for, by ID alone' -r
complete -c lp-post -s b -l bucket -d 'Write all points into this bucket, whatever the stream says' -r
complete -c lp-post -l bucket-id -d 'The same by the ID of the bucket, for servers where buckets have one' -r
complete -c lp-post -l context -d 'Database and retention policy of points without context, as in the output of influx_inspect export -lponly' -r
complete -c lp-post -l token-file -d 'Read the token from this file; again when the server does not know it any more' -r -F
complete -c lp-post -s t -l token -d 'Token; user:password for InfluxDB 1.x' -r
complete -c lp-post -s c -l profile -l active-config -d 'Take host, token and organisation from this profile of the influx command, where nothing else gives them' -r
complete -c lp-post -l configs-path -d 'File with the profiles of the influx command, which is only read [default: ~/.influxdbv2/configs]' -r -F
complete -c lp-post -l ca-cert -d 'Trust the certificates in this PEM file instead of those the system trusts' -r -F
complete -c lp-post -l batch-lines -d 'Most records in one request' -r
complete -c lp-post -l batch-bytes -d 'Most bytes in one request, before compression; a longer record goes alone' -r
complete -c lp-post -l batch-age -d 'Longest time that a point waits for its batch to be full; 0s is for ever [default: 10s, or for ever with --journal]' -r
complete -c lp-post -l timeout -d 'How long to wait for an answer; a large request gets more' -r
complete -c lp-post -s j -l jobs -d 'Requests on their way at once' -r
complete -c lp-post -l rate -l rate-limit -d 'Send no more than this: 300MB/5min, serverless, serverless-free, auto or unlimited' -r
complete -c lp-post -l budget -d 'Share the rate with all processes on this machine that name this file' -r -F
complete -c lp-post -l journal -d 'Keep a list of what is stored in this file, and do not send it again' -r -F
complete -c lp-post -l retry-max-time -d 'Give up, with status 75, when nothing has been stored for so long; 0s is never' -r
complete -c lp-post -l retry-delay -d 'First wait before a request is sent again; doubles up to a minute' -r
complete -c lp-post -l retention-period -d 'How long buckets keep points: a duration or "infinite", for one bucket or for all that the stream says nothing of; may be repeated' -r
complete -c lp-post -l expired -d 'What becomes of points that are older than their bucket keeps: skip, reject or send' -r -f -a "skip\t'They are counted and left out'
reject\t'They are rejects'
send\t'They are sent'"
complete -c lp-post -l rejects -d 'Append refused records to this file, each under a comment with its place and reason' -r -F
complete -c lp-post -l max-rejects -d 'End the run, with status 69, after more than this many rejects [default: 10000, or 10 onto a terminal]' -r
complete -c lp-post -s p -l precision -d 'Unit of the timestamps that come in: ns, us, ms or s' -r -f -a "ns\t'Nanoseconds'
us\t'Microseconds'
ms\t'Milliseconds'
s\t'Seconds'"
complete -c lp-post -l input-dialect -d 'How names with backslashes are spelled: go as InfluxDB 1.x and 2.x do, or v3 as InfluxDB 3 does' -r -f -a "go\t'As InfluxDB 1.x and 2.x spell them'
v3\t'As InfluxDB 3 spells them'"
complete -c lp-post -s f -l file -d 'Files to read, as operands are; may be repeated' -r -F
complete -c lp-post -l compression -d 'What the input must be: gzip or none; without it either is told by its content' -r -f -a "none\t'Plain text'
gzip\t'Gzip'"
complete -c lp-post -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-post -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-post -l merge-buckets -d 'Let --bucket put points together that the stream keeps apart'
complete -c lp-post -l allow-http -d 'Send the token even over plain HTTP to another machine'
complete -c lp-post -l insecure -l skip-verify -d 'Do not check who the server is: anybody on the way can read the token and the data'
complete -c lp-post -l create-buckets -d 'Make buckets that are missing, as soon as the stream names them'
complete -c lp-post -l dbrp -d 'Let InfluxQL find made buckets by database and policy; autogen, or else the first, is a database\'s default policy'
complete -c lp-post -l dry-run -d 'Send nothing: read, batch and compress, and say what would go where'
complete -c lp-post -l ping -d 'Check URL, token and bucket by a write without any point, and read nothing'
complete -c lp-post -l allow-empty -d 'Take standard input without a single byte for success'
complete -c lp-post -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-post -l progress -d 'Draw progress even where nobody seems to look'
complete -c lp-post -l quiet -d 'Never draw progress'
complete -c lp-post -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-post -s V -l version -d 'Print version'
