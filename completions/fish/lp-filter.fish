complete -c lp-filter -l start -d 'Keep points of this time and later' -r
complete -c lp-filter -l stop -d 'Keep points before this time' -r
complete -c lp-filter -l no-timestamp -d 'What a point without timestamp is where a time is asked for; a reject unless this says otherwise' -r -f -a "keep\t'It matches every time'
drop\t'It matches no time'"
complete -c lp-filter -s m -l measurement -d 'Keep points of this measurement, a pattern as the shell knows them; may be repeated' -r
complete -c lp-filter -s t -l tag -d 'Keep points with this tag: key=value, key!=value, key=~regex, key!~regex; may be repeated' -r
complete -c lp-filter -s d -l database -d 'Keep points whose context names this database; may be repeated' -r
complete -c lp-filter -s r -l retention-policy -d 'Keep points whose context names this retention policy; may be repeated' -r
complete -c lp-filter -s f -l field -d 'Keep only these fields of the selected points, a pattern; a point left without field is dropped' -r
complete -c lp-filter -l drop-field -d 'Drop these fields of the selected points, a pattern; a point left without field is dropped' -r
complete -c lp-filter -l rename-measurement -d 'Rename a measurement' -r
complete -c lp-filter -l rename-tag -d 'Rename a tag; the measurement may be a pattern, and a dot in it is spelled \\' -r
complete -c lp-filter -l rename-field -d 'Rename a field' -r
complete -c lp-filter -l drop-tag -d 'Drop a tag, which can make two series one' -r
complete -c lp-filter -l cast -d 'Give a field another type: float, integer, unsigned, string or boolean' -r
complete -c lp-filter -s p -l precision -d 'Unit of the timestamps that come in; they go out in nanoseconds' -r -f -a "ns\t'Nanoseconds'
us\t'Microseconds'
ms\t'Milliseconds'
s\t'Seconds'"
complete -c lp-filter -l validate -d 'Check every record by the rules of a target, as lp-post names it; what breaks them is a reject' -r
complete -c lp-filter -l max-record -d 'Longest record to accept, in bytes' -r
complete -c lp-filter -l rejects -d 'Append records that cannot be handled to this file, each under a comment with its place and reason' -r -F
complete -c lp-filter -l summary -d 'Write the figures of the run to this file, as JSON' -r -F
complete -c lp-filter -s v -l invert-match -d 'Keep what does not match instead'
complete -c lp-filter -l allow-collisions -d 'Let the renamed name win where a rename makes two equal names in one point; let --drop-tag make series equal'
complete -c lp-filter -l allow-loss -d 'Let casts round'
complete -c lp-filter -l strict -d 'Stop at the first reject, with status 65'
complete -c lp-filter -l verbose -d 'Print a line of figures at the end even if nobody looks and nothing was left out'
complete -c lp-filter -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lp-filter -s V -l version -d 'Print version'
