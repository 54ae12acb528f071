complete -c tsm-cat -s d -l database -d 'Export this database; may be repeated' -r
complete -c tsm-cat -s r -l retention-policy -d 'Export this retention policy; may be repeated' -r
complete -c tsm-cat -l shard -d 'Export the shard with this number; may be repeated' -r
complete -c tsm-cat -s m -l measurement -d 'Export this measurement, a pattern as the shell knows them; may be repeated' -r
complete -c tsm-cat -l start -d 'Export points of this time and later' -r
complete -c tsm-cat -l stop -d 'Export points before this time' -r
complete -c tsm-cat -l end -d 'Export points up to and including this time, as influx_inspect does; prefer --stop' -r
complete -c tsm-cat -l changed-since -d 'Export the shards that have changed at this time or later; @FILE is the summary of a former run' -r
complete -c tsm-cat -l validate -d 'With --schema: print what this target refuses instead, and what mends it: serverless or core' -r
complete -c tsm-cat -l wal-dir -d 'Read the log from this directory, which holds databases as "wal" does' -r -F
complete -c tsm-cat -l tmp-dir -d 'Put what does not fit into memory into files without a name in this folder' -r -F
complete -c tsm-cat -l bucket-names -d 'Read the names of 2.x buckets from this file, an id and a name on a line, as influx bucket list prints them' -r -F
complete -c tsm-cat -s o -l out -d 'Write to this file instead of standard output; it gets its name when it is complete' -r -F
complete -c tsm-cat -s j -l jobs -d 'Threads that read, merge and print; by default as many as there are processors' -r
complete -c tsm-cat -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c tsm-cat -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c tsm-cat -l deleted -d 'Export the shards of groups that meta.db marks as deleted as well'
complete -c tsm-cat -l internal -d 'Export the server\'s own database _internal as well'
complete -c tsm-cat -l list -d 'Print one row a shard and no points'
complete -c tsm-cat -l schema -d 'Print one row for each tag and each type of a field, from indexes alone, and no points'
complete -c tsm-cat -l no-header -d 'Print no header above the rows'
complete -c tsm-cat -l context-only -d 'Print the contexts of all that is selected, and no points'
complete -c tsm-cat -l no-wal -d 'Leave out the log, and with it what the server has not moved into .tsm files'
complete -c tsm-cat -l replicas -d 'Merge copies of one shard that lie below several PATHs, where the later PATH is newer'
complete -c tsm-cat -l keep-going -d 'Leave out what is damaged instead of ending there'
complete -c tsm-cat -l per-field -d 'Print one line for each value instead of one for each point'
complete -c tsm-cat -l lp-only -d 'Print points only, no comments'
complete -c tsm-cat -l force -d 'Replace the file that --out names if it exists'
complete -c tsm-cat -l compress -d 'Compress with gzip, on all jobs'
complete -c tsm-cat -l progress -d 'Draw progress even where nobody seems to look'
complete -c tsm-cat -l quiet -d 'Never draw progress'
complete -c tsm-cat -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c tsm-cat -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tsm-cat -s V -l version -d 'Print version'
