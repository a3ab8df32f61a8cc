"""The report: one self-contained HTML page over all branches of a results tree.

`build.build_report` is the only entry. `collect` reads the tree into records, `words` and `badges`
turn them into sentences, `figures` and `volumes` into pictures, and the template under `assets/`
lays them out. Nothing on the page is fetched: charts are inline SVG, slices inline PNG, maps inline
bytes that `assets/surface.js` contours in the browser.
"""
