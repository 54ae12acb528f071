complete -c lp-split-by-bucket -l bucket -d 'Name buckets like this, with {database} and {policy} in it, whatever the stream says' -r
complete -c lp-split-by-bucket -l map -d 'Call the bucket TO that would be called FROM; may be repeated' -r
complete -c lp-split-by-bucket -l context -d 'Where the stream names no database, take this one' -r
complete -c lp-split-by-bucket -l dir -d 'Write one file per bucket into this folder instead of standard output' -r -F
complete -c lp-split-by-bucket -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-split-by-bucket -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c lp-split-by-bucket -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-split-by-bucket -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-split-by-bucket -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-split-by-bucket -s V -l version -d 'Print version'
