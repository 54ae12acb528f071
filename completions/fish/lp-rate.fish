complete -c lp-rate -l points -d 'Let no more points pass than this, whatever their size, such as 10000/s or 2e6/h' -r
complete -c lp-rate -l partitions -d 'Let points into no more partitions than this, for each bucket, such as 5000/15min' -r
complete -c lp-rate -l budget -d 'Share RATE with all processes on this host that name the same file' -r -F
complete -c lp-rate -l report -d 'Write a line of progress to standard error every so many seconds, for a log' -r
complete -c lp-rate -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-rate -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c lp-rate -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-rate -l dry-run -d 'Write nothing and wait for nothing; say how long it would take'
complete -c lp-rate -l progress -d 'Draw progress even where nobody seems to look'
complete -c lp-rate -l quiet -d 'Never draw progress'
complete -c lp-rate -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-rate -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-rate -s V -l version -d 'Print version'
