complete -c lp-filter -l start -d 'Keep points of this time and later' -r
complete -c lp-filter -l stop -d 'Keep points before this time' -r
complete -c lp-filter -s m -l measurement -d 'Keep points of this measurement, a pattern as the shell knows them; may be repeated' -r
complete -c lp-filter -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-filter -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c lp-filter -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-filter -s v -l invert-match -d 'Keep what does not match instead'
complete -c lp-filter -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-filter -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-filter -s V -l version -d 'Print version'
