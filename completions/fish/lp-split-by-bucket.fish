complete -c lp-split-by-bucket -l bucket -d 'Name buckets like this, with {database}, {policy}, {measurement}, {tag:KEY} or {time:FORMAT} in it' -r
complete -c lp-split-by-bucket -l map -d 'Call the bucket TO that would be called FROM; may be repeated' -r
complete -c lp-split-by-bucket -l map-file -d 'Read new names from this file: lines of FROM, TO and PERIOD with tabs between them' -r -F
complete -c lp-split-by-bucket -l default -d 'Take this bucket for points that have no other, instead of rejecting them' -r
complete -c lp-split-by-bucket -l context -d 'Where the stream names no database, take this one' -r
complete -c lp-split-by-bucket -l target -d 'Who has to accept the names of buckets' -r -f -a "auto\t''
serverless\t''
cloud\t''
oss2\t''
v1\t''
core\t''
enterprise\t''
clustered\t''
dedicated\t''
victoriametrics\t''"
complete -c lp-split-by-bucket -l dir -d 'Write one file per bucket into this folder instead of standard output' -r -F
complete -c lp-split-by-bucket -l max-bytes -d 'Begin another file before one gets larger than this (example-db/autogen.00001.lp), uncompressed' -r
complete -c lp-split-by-bucket -l max-lines -d 'Begin another file when one holds so many records' -r
complete -c lp-split-by-bucket -l exec -d 'Run this command for each bucket, with its points as standard input' -r
complete -c lp-split-by-bucket -l max-open -d 'Run no more commands than this; one bucket more ends the run with status 78' -r
complete -c lp-split-by-bucket -l plan -d 'Write no points but a table of the buckets, or the commands that make them' -r -f -a "table\t'As a table'
commands\t'As commands that make the buckets'"
complete -c lp-split-by-bucket -l rate -d 'Say how long an upload takes at this rate, and what the tariff does not allow: serverless, serverless-free, or a rate as for lp-rate' -r
complete -c lp-split-by-bucket -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-split-by-bucket -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c lp-split-by-bucket -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-split-by-bucket -l compress -d 'Compress the files with gzip (example-db/autogen.lp.gz)'
complete -c lp-split-by-bucket -l force -d 'Replace the files of an earlier run'
complete -c lp-split-by-bucket -l json -d 'Print the plan as one JSON object'
complete -c lp-split-by-bucket -l progress -d 'Draw progress even where nobody seems to look'
complete -c lp-split-by-bucket -l quiet -d 'Never draw progress'
complete -c lp-split-by-bucket -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-split-by-bucket -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-split-by-bucket -s V -l version -d 'Print version'
