complete -c lp-rate -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-rate -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c lp-rate -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-rate -l dry-run -d 'Write nothing and wait for nothing; say how long it would take'
complete -c lp-rate -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-rate -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-rate -s V -l version -d 'Print version'
